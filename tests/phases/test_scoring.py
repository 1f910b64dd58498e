"""Scored prompts: files and their faults, and accuracies against enumeration."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from heatbath.errors import BadInput, Unreliable
from heatbath.models import TableModel
from heatbath.phases.accuracy import (
    ScoredPrompt,
    _accuracy_interval,
    grade_prompts,
    read_scored_prompts,
    score_prompts,
)
from heatbath.phases.curves import wilson_interval
from heatbath.questions.graders import (
    build_choice,
    build_contains,
    build_exact,
    build_numeric,
    contains_answer,
    final_number,
    normalise_answer,
)

TEMPERATURES = [0.3, 0.6, 1.0, 1.6, 2.5]


def written(tmp_path, *lines):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


CAPITAL = {"prompt": "The capital of France is", "answer": "Paris"}
RIGHT = [
    (
        CAPITAL,
        [
            "Paris",
            " paris.",
            "Paris, a city on the Seine.",
            "**Paris**",
            "It is PARIS!",
            "the city of Paris\n\nQ: Rome",
        ],
    ),
    ({"answer": "the Eiffel Tower"}, ["Eiffel tower.", "An Eiffel-Tower"]),
    ({"answer": "C++"}, ["I would use C++.", "c++"]),
    ({"answer": "1.5 million"}, ["About 1.5 million."]),
    ({"answer": "東京"}, ["日本の首都は東京です。"]),
    ({"answer": ["UK", "United Kingdom"]}, ["The U.K.", "the United Kingdom of Great Britain"]),
    (
        {"answer": 42},
        ["42", "It is 42.", "6 * 7 = 42", "The answer is 42. I checked 3 times.", "#### 42\n7", "42.0", "$42"],
    ),
    ({"answer": "1,234.5"}, ["1234.5", "about 1,234.50 metres"]),
    ({"answer": "-5"}, ["x = -5", "\u22125 degrees"]),
    ({"answer": "3/4"}, ["0.75", "It is 3 / 4."]),
    ({"answer": 3.14159, "tolerance": 0.01}, ["3.14", "pi is about 3.15"]),
    (
        {"answer": "B"},
        ["B", "(B)", "B. Rome", "B) Rome", "The answer is (B).", "Answer: **B**", "A good answer is B", "b\nB"],
    ),
    ({"answer": 1, "choices": ["Rome", "Paris", "Paris Hilton"]}, ["B", "Paris", "It must be Paris.", "(B) Paris"]),
    ({"answer": "Paris Hilton", "choices": ["Rome", "Paris", "Paris Hilton"]}, ["C", "I say Paris Hilton."]),
    ({"answer": "Yes.", "grader": "exact"}, ["Yes.", " Yes.\n"]),
    ({"answer": "Yes", "grader": "normalised"}, ["yes", "YES!", "the yes"]),
]
WRONG = [
    (CAPITAL, ["", "Parisian", "London", "Comparison", "Par is"]),
    ({"answer": "C++"}, ["C", "C is older"]),
    ({"answer": "1.5 million"}, ["15 million", "5 million"]),
    ({"answer": "C"}, ["The answer is B.", "none"]),
    ({"answer": 42}, ["420", "142", "4.2", "no number", "42 or 43", "#### 7\n42", "v42x"]),
    ({"answer": "B"}, ["A", "The answer is (A), not (B)? No: answer: A", "Because", "b"]),
    ({"answer": 1, "choices": ["Rome", "Paris", "Paris Hilton"]}, ["Paris or Rome", "Paris Hilton", "A", "D", "2"]),
    ({"answer": "Yes.", "grader": "exact"}, ["yes.", "Yes", "Yes. No."]),
    ({"answer": "Yes", "grader": "normalised"}, ["Yes, of course", "no"]),
]


@pytest.mark.parametrize(("cases", "right"), [(RIGHT, True), (WRONG, False)])
def test_the_obvious_is_scored_right_and_its_like_wrong(tmp_path, cases, right):
    items = read_scored_prompts(written(tmp_path, *({"prompt": "Q", **entry} for entry, _ in cases)))
    for item, (entry, texts) in zip(items, cases, strict=True):
        for text in texts:
            assert item.score(text) == right, (entry, text, item.grader)


def test_the_grader_follows_from_the_answer_and_is_named(tmp_path):
    entries = [
        ("contains", {"answer": "Paris"}),
        ("numeric", {"answer": "42"}),
        ("numeric", {"answer": 4.5}),
        ("contains", {"answer": ["42", "forty-two"]}),
        ("choice", {"answer": "D"}),
        ("choice", {"answer": 0, "choices": ["a", "b"]}),
        ("regex", {"regex": "x"}),
        ("exact", {"answer": "D", "grader": "exact"}),
    ]
    items = read_scored_prompts(written(tmp_path, *({"prompt": "Q", **entry} for _, entry in entries)))
    assert [item.grader for item in items] == [name for name, _ in entries]
    assert [item.expected for item in items][3:7] == ["42 or forty-two", "D", "A (a)", "/x/"]
    assert items[0].place.endswith("prompts.jsonl, line 1") and items[0].question == "Q"


@given(st.floats(-1e12, 1e12).map(lambda x: round(x, 3)))
def test_a_number_is_found_however_it_is_written(number):
    for text in (f"It is {number:,}.", f"= {number:.3f}", f"The answer is {number:.6e}. 7 people agree."):
        assert final_number(text) == pytest.approx(number, rel=1e-6, abs=1e-3)


@given(st.text(max_size=60), st.text(max_size=20))
@example("0", "A")
def test_an_answer_is_contained_in_every_text_around_it(around, answer):
    """With separators on both sides; normalising twice changes nothing."""
    assume(normalise_answer(answer))
    assert contains_answer(f"{around}\n{answer}\n{around}", answer)
    assert normalise_answer(normalise_answer(around)) == normalise_answer(around)


@given(st.text(max_size=80))
def test_votes_and_scores_come_of_any_text(text):
    for grader in (build_contains(["x"]), build_numeric([1]), build_choice(["A"], ["u", "v"], "B"), build_exact(["x"])):
        assert isinstance(grader.vote(text), str) and grader.is_right(text) in (True, False)
        if grader.name == "choice":
            assert grader.is_right(text) == (grader.vote(text) == "A")


def test_a_regex_is_found_anywhere_and_its_group_is_the_vote(tmp_path):
    whole, group = read_scored_prompts(
        written(tmp_path, {"prompt": "Q", "regex": "4+2"}, {"prompt": "Q", "regex": r"= (\d+)"})
    )
    assert [bool(whole.score(text)) for text in ("so 442.", "24")] == [True, False]
    assert whole.vote("so 442.") == "442" and whole.vote(" None ") == "none"
    assert group.vote("6 * 7 = 42!") == "42"


def test_an_answer_beside_a_regex_is_what_it_finds(tmp_path):
    (item,) = read_scored_prompts(written(tmp_path, {"prompt": "6 * 7", "regex": r"(-?\d+)", "answer": 42}))
    assert [bool(item.score(text)) for text in ("It is 42.", "42", "It is 43, not 42", "no")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_scorer_decides_and_sees_the_prompt(tmp_path):
    path = written(tmp_path, {"prompt": "ab"}, {"messages": [{"role": "user", "content": "xyz"}], "answer": "ignored"})
    first, second = read_scored_prompts(path, lambda prompt, text: len(text) / len(prompt))
    assert first.score("a") == 0.5 and second.score("xyz") == 1.0


def test_blank_lines_are_skipped_and_messages_kept(tmp_path):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    items = read_scored_prompts(
        written(tmp_path, "", {"messages": messages, "answer": "x"}, "  ", {"prompt": "p", "answer": "y"})
    )
    assert [item.prompt for item in items] == [messages, "p"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "Q", "answer"', "not valid JSON"),
        ("[1]", "expected a JSON object"),
        ({"answer": "a"}, 'expected either "prompt"'),
        ({"prompt": "", "answer": "a"}, 'expected either "prompt"'),
        ({"prompt": "Q", "messages": [{"role": "user", "content": "u"}], "answer": "a"}, 'expected either "prompt"'),
        ({"messages": [{"role": "user"}], "answer": "a"}, 'expected either "prompt"'),
        ({"prompt": "Q"}, 'expected "answer" or "regex", got neither'),
        ({"prompt": "Q", "regex": None}, 'expected "answer" or "regex", got neither'),
        ({"prompt": "Q", "answer": True}, "`answer` must be a string or a number"),
        ({"prompt": "Q", "regex": "("}, "is not a regular expression"),
        ({"prompt": "Q", "regex": 3}, "`regex` must be a string"),
        ({"prompt": "Q", "answer": []}, "at least one accepted answer"),
        ({"prompt": "Q", "answer": [1, None]}, "`answer` must be a string or a number"),
        ('{"prompt": "Q", "answer": NaN}', "`answer` must be a string or a number"),
        ({"prompt": "Q", "answer": " "}, "must not be empty"),
        ({"prompt": "Q", "answer": "!?"}, "nothing but punctuation"),
        ({"prompt": "Q", "anwser": "a"}, "unknown key 'anwser' (did you mean 'answer'?)"),
        ({"prompt": "Q", "answer": "a", "grader": "fuzzy"}, "`grader` must be one of exact, normalised, contains"),
        ({"prompt": "Q", "answer": "a", "grader": 3}, "`grader` must be one of"),
        ({"prompt": "Q", "answer": "a", "grader": "numeric"}, "needs a number as `answer`"),
        ({"prompt": "Q", "answer": "a", "grader": "regex"}, "needs a `regex`"),
        ({"prompt": "Q", "regex": "a", "grader": "exact"}, "needs an `answer`"),
        ({"prompt": "Q", "answer": "a", "regex": "a", "grader": "exact"}, "takes no `regex`"),
        ({"prompt": "Q", "answer": "abc", "choices": ["u", "v"]}, "one of the `choices`"),
        ({"prompt": "Q", "answer": 2, "choices": ["u", "v"]}, "one of the `choices`"),
        ({"prompt": "Q", "answer": "Z", "choices": ["u", "v"]}, "one of the `choices`"),
        ({"prompt": "Q", "answer": "abc", "grader": "choice"}, "needs a capital letter"),
        ({"prompt": "Q", "answer": 1, "choices": ["u"]}, "2 to 26 strings"),
        ({"prompt": "Q", "answer": "a", "tolerance": 1}, "takes no `tolerance`"),
        ({"prompt": "Q", "answer": 1, "tolerance": -1}, "`tolerance` must be a number of at least 0"),
        ('{"prompt": "\\ud800", "answer": "a"}', "half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    good = [{"prompt": "Q", "answer": "a"}] * 16
    with pytest.raises(BadInput, match=rf"^[^\n]*prompts.jsonl, line 17: [^\n]*{re.escape(said)}[^\n]*$"):
        read_scored_prompts(written(tmp_path, *good, line, {"prompt": "Q", "answer": "a"}))


def test_files_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_scored_prompts(tmp_path / "none.jsonl")
    with pytest.raises(BadInput, match="has no prompts"):
        read_scored_prompts(written(tmp_path, "\n \n"))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(BadInput, match="UTF-8"):
        read_scored_prompts(latin)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "bom.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "Q", "answer": "a"}\r\n\r\n')
    assert [item.prompt for item in read_scored_prompts(path)] == ["Q"]


def tree(stop=()) -> TableModel:
    """Prompt "a", "b" or "c" (the first token), then two tokens of an answer."""
    rng = np.random.default_rng(11)
    return TableModel(lambda prefix: rng.normal(0, 1.5, 3).tolist(), 3, stop_token_ids=stop)


def accuracy(model: TableModel, prompt: str, answer: str, temperature: float) -> float:
    """The exact probability that the text after a prompt is the answer."""
    start, first = tuple(model.encode(prompt)), tuple(model.encode(prompt + answer))
    law = dict(zip(model.sequences(), np.exp(model.logprobs(1 / temperature)), strict=True))
    whole = sum(p for sequence, p in law.items() if sequence[: len(start)] == start)
    return float(law[first] / whole)


def exact_item(prompt: str, answer: str) -> ScoredPrompt:
    return ScoredPrompt(prompt, lambda text: text == answer)


def test_one_answer_and_best_of_n_are_those_of_enumeration():
    """Three prompts, each 40 times, 16 samples: 1920 texts a temperature, four standard errors: 6e-4 in all."""
    model, n = tree(), 4
    asked = [("a", "bc"), ("b", "aa"), ("c", "cb")]
    items = [exact_item(*pair) for pair in asked for _ in range(40)]
    one, best, vote = score_prompts(model, items, TEMPERATURES, best_of=n, max_tokens=2)
    assert (one.way, best.way, vote.way) == ("one answer", "best of 4", "majority vote of 4")
    p = np.array([[accuracy(model, *pair, t) for pair in asked] for t in TEMPERATURES])
    # The spread of the means is that of the draws alone here, as the three prompts are fixed.
    assert np.abs(np.array(one.accuracy) - p.mean(1)).max() < 4 * 0.5 / np.sqrt(1920)
    miss = 1 - (1 - p) ** n
    assert np.abs(np.array(best.accuracy) - miss.mean(1)).max() < 4 * 0.5 / np.sqrt(120 * 4)
    for way, exact in ((one, p.mean(1)), (best, miss.mean(1))):
        top = TEMPERATURES[int(exact.argmax())]
        assert way.interval[0] <= way.temperature <= way.interval[1]
        assert way.interval[0] <= top <= way.interval[1]


def test_a_wrong_temperature_would_be_seen():
    """The accuracies differ over temperatures by far more than the tolerance above."""
    p = np.array([accuracy(tree(), "a", "bc", t) for t in TEMPERATURES])
    assert np.ptp(p) > 8 * 0.5 / np.sqrt(1920)


def test_the_vote_is_that_of_enumeration():
    """A vote of three: the most frequent of nine answers, ties split, by every triple; four standard errors."""
    model, items = tree(), [exact_item("b", "aa")] * 200
    *_, vote = score_prompts(model, items, [0.6, 1.2], best_of=3, samples=6, max_tokens=2, seed=4)
    for t, found in zip(vote.temperatures, vote.accuracy, strict=True):
        answers = [a + b for a in "abc" for b in "abc"]
        law = np.array([accuracy(model, "b", answer, t) for answer in answers])
        p = law[answers.index("aa")]
        # The right one wins with two or three of three, and takes a third of the draws in which all differ.
        differ = 2 * p * sum(q * r for i, q in enumerate(law) for r in law[i + 1 :] if p not in (q, r))
        exact = p**3 + 3 * p**2 * (1 - p) + differ
        assert found == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(200 * 2))


def test_where_all_temperatures_are_equal_the_interval_is_the_whole_range():
    """Flat energies give one law at every T; rows draw the same random numbers, so that the texts are the same too."""
    model = TableModel(lambda prefix: [0.0, 0.0, 0.0], 3)
    for way in score_prompts(model, [exact_item("a", "bc")] * 12, TEMPERATURES, max_tokens=2):
        assert way.interval == (0.3, 2.5)
        assert np.ptp(way.accuracy) == 0


def test_texts_end_when_the_model_likes_and_the_stop_token_is_no_part_of_them():
    model = TableModel(
        lambda prefix: [0.0, 0.0, -50.0] if len(prefix) == 2 else [0.0, 2.0, 60.0], 4, stop_token_ids=(2,)
    )
    one, *_ = score_prompts(model, [exact_item("a", "a")] * 8, [0.5], max_tokens=3)
    assert one.accuracy[0] == pytest.approx(1 / (1 + np.exp(-2 / 0.5)), abs=4 * 0.5 / np.sqrt(128))
    assert one.interval == (0.5, 0.5)


def test_few_prompts_are_refused_and_carried():
    with pytest.raises(Unreliable, match="7 prompts are too few") as refused:
        score_prompts(tree(), [exact_item("a", "bc")] * 7, TEMPERATURES, max_tokens=2)
    assert [best.way for best in refused.value.estimate] == ["one answer", "best of 8", "majority vote of 8"]


def test_progress_counts_texts_to_the_end():
    seen = []
    items = [exact_item("a", "bc")] * 10
    score_prompts(tree(), items, [0.5, 1.0], samples=8, max_tokens=2, progress=lambda *said: seen.append(said))
    assert seen[-1] == (160, 160) and [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_batches_do_not_change_what_is_drawn(monkeypatch):
    items = [exact_item("a", "bc"), exact_item("b", "aa")] * 5
    whole = score_prompts(tree(), items, [0.5, 1.0], samples=8, max_tokens=2)
    monkeypatch.setattr("heatbath.phases.accuracy._MAX_ROWS", 8)
    assert score_prompts(tree(), items, [1.0, 0.5, 0.5], samples=8, max_tokens=2) == whole


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (([], [1.0]), {}, "one temperature, got 0 and 1"),
        (([exact_item("a", "b")], []), {}, "one temperature, got 1 and 0"),
        (([exact_item("a", "b")], [1.0]), {"best_of": 17}, "samples = 16, got 17"),
        (([exact_item("a", "b")], [1.0]), {"samples": 0}, "samples = 0, got 8"),
        (([exact_item("a", "b")], [-1.0]), {"max_tokens": 2}, "temperature is -1"),
        (([ScoredPrompt("a", lambda text: 2.0)], [1.0]), {"max_tokens": 2}, "got 2.0"),
        (([ScoredPrompt("a", lambda text: np.nan)], [1.0]), {"max_tokens": 2}, "got nan"),
        (([ScoredPrompt([{"role": "user", "content": "a"}], bool)], [1.0]), {"max_tokens": 2}, "no chat template"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, settings, said):
    with pytest.raises(BadInput, match=said):
        score_prompts(tree(), *arguments, **settings)


def test_wrong_answers_are_kept_with_their_temperature_and_share():
    items = [exact_item("a", "bc"), exact_item("b", "aa"), ScoredPrompt("c", lambda text: True)] * 3
    result = grade_prompts(tree(), items, TEMPERATURES, max_tokens=2)
    best = result.best[0]
    k = best.temperatures.index(best.temperature)
    assert all(one.temperature == best.temperature for one in result.wrong)
    assert [one.prompt for one in result.wrong].count("c") == 0
    assert sorted(one.share_right for one in result.wrong) == [one.share_right for one in result.wrong]
    assert (sum(one.share_right for one in result.wrong) + 9 - len(result.wrong)) / 9 == pytest.approx(best.accuracy[k])
    for one in result.wrong:
        assert 1 <= len(one.texts) <= 3 and {"a": "bc", "b": "aa"}[one.prompt] not in one.texts


def test_intervals_of_accuracies_hold_their_level():
    """The interval for 12 prompts of 4 equal answers each holds 95 % of the time on average over the accuracy.

    3000 draws: five standard errors are 0.02. Counted as 48 answers, the interval holds much less often.
    """
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 3000)
    scores = rng.random((3000, 12)) < p[:, None]
    mean, stderr = scores.mean(1), scores.std(1, ddof=1) / np.sqrt(12)
    found = np.array([_accuracy_interval(m, e, 12, 4) for m, e in zip(mean, stderr, strict=True)])
    assert np.mean((found[:, 0] <= p) & (p <= found[:, 1])) == pytest.approx(0.95, abs=0.02)
    narrow = wilson_interval(mean, np.full(3000, 48.0))
    assert np.mean((narrow[0] <= p) & (p <= narrow[1])) < 0.8
    result = score_prompts(tree(), [ScoredPrompt("a", lambda text: True)] * 8, [0.5, 1.0], max_tokens=2)
    right = pytest.approx((8 / (8 + 1.96**2), 1.0), abs=1e-4)
    assert result[0].accuracy_interval == (right, right), "all right: each prompt is one outcome"


def test_the_examples_of_the_documentation_are_true(tmp_path):
    """Every row of the table of graders: a line, texts that are right, and texts that are wrong."""
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")
    rows = [row.strip("|").split(" | ") for row in page.splitlines() if row.startswith('| `{"prompt"')]
    assert len(rows) == 8
    for line, right, wrong in rows:
        (item,) = read_scored_prompts(written(tmp_path, line.strip(" `")))
        for texts, expected in ((right, True), (wrong, False)):
            assert {bool(item.score(text)) for text in re.findall("`([^`]+)`", texts)} == {expected}, line
