"""Files of questions and their faults; question sets, quiz patterns, and the gauge control."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from heatbath.errors import BadInput, MissingExtra
from heatbath.models import ExactModel, MarkovModel
from heatbath.models.base import Vocabulary
from heatbath.trust.calibration.calibration_data import read_calibration_data
from heatbath.trust.calibration.gauge_control import compare_gauges, shift_gauge
from heatbath.trust.calibration.model_judge import build_model_judge
from heatbath.trust.calibration.question_sets import load_question_set
from heatbath.trust.calibration.quiz_files import expand_pattern, read_quiz_folder
from heatbath.trust.calibration.signal_table import SignalDescription, SignalTable
from heatbath.trust.signals import SIGNALS, Evidence, compute_signals


class YesModel(ExactModel):
    """Bytes; after a prompt with the digit 1 it says Yes, and No otherwise."""

    def __init__(self) -> None:
        super().__init__("yes", Vocabulary(256), [bytes([i]) for i in range(256)])

    def fingerprint(self) -> str:
        return "sha256:yes"

    def initial_state(self, rows: int) -> np.ndarray:
        return np.zeros((rows, 1), np.int64)

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return np.maximum(state, (tokens == ord("1"))[:, None])

    def next_energies(self, state: np.ndarray) -> np.ndarray:
        energies = np.full((len(state), 256), 5.0)
        energies[np.arange(len(state)), np.where(state[:, 0] > 0, ord("Y"), ord("N"))] = 0.0
        return energies


def write(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_questions_with_graders_ready_labels_and_groups(tmp_path):
    path = write(
        tmp_path,
        {"prompt": "2 + 2 =", "answer": 4, "group": "sums"},
        {"prompt": "3 + 3 =", "response": "6", "label": 1},
        {"prompt": "4 + 4 =", "response": "9", "answer": "8"},
        {"messages": [{"role": "user", "content": "5 + 5?"}], "answer": ["10", "ten"], "grader": "normalised"},
    )
    data = read_calibration_data(path)
    assert data.groups == ("sums", "", "", "") and data.name == "questions.jsonl"
    assert [question.response for question in data.questions] == [None, "6", "9", None]
    assert [question.grade("It is 4.") for question in data.questions] == [1, 1, 0, 0]
    assert data.questions[3].grade("Ten.") == 1
    assert data.digest == read_calibration_data(path).digest != read_calibration_data(path, count=None).name
    assert len(set(data.find_units().tolist())) == 4
    judged = read_calibration_data(path, scorer=lambda prompt, text: text == "4")
    assert [judged.questions[i].grade("4") for i in (0, 1)] == [1, 1]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"prompt": "a", "response": "b", "label": 2}, "line 1: a label must be 0"),
        ({"prompt": "a", "response": "b", "label": "right"}, "line 1: a label must be 0"),
        ({"prompt": "a", "response": "b", "label": 0.5}, "line 1: a label must be 0"),
        ({"prompt": "a", "label": 1}, "add the `response` that it grades"),
        ({"prompt": "a", "response": "  ", "label": 1}, "`response` must be an answer with at least one character"),
        ({"prompt": "a", "response": "b"}, 'expected "answer" or "regex"'),
        ({"prompt": "a", "answer": ""}, "`answer` must not be empty"),
        ({"prompt": "a", "answer": []}, "at least one accepted answer"),
        ({"prompt": "a", "answer": "b", "group": [1]}, "`group` must be a string"),
        ({"prompt": "", "answer": "b"}, "expected either"),
    ],
)
def test_an_invalid_line_is_named(tmp_path, entry, words):
    with pytest.raises(BadInput, match=words) as caught:
        read_calibration_data(write(tmp_path, entry))
    assert "\n" not in str(caught.value)


def test_a_score_between_wrong_and_right_is_refused():
    data = read_calibration_data([{"prompt": "a"}], scorer=lambda prompt, text: 0.5)
    with pytest.raises(BadInput, match=r"got the score 0.5 for 'x': let the scorer return true or false"):
        data.questions[0].grade("x")
    with pytest.raises(BadInput, match="there are no questions"):
        read_calibration_data([])


def test_quiz_patterns():
    assert expand_pattern("a|b") == ["a", "b"]
    assert expand_pattern("[The ]Hague") == ["The Hague", "Hague"]
    assert expand_pattern("{St.|Saint} John[s]") == ["St. Johns", "St. John", "Saint Johns", "Saint John"]
    assert expand_pattern(r"10\:30 \[a\]") == ["10:30 [a]"]
    assert len(expand_pattern("[a]" * 12)) <= 64
    with pytest.raises(BadInput, match="a bracket that was not opened"):
        expand_pattern("a}b")


def test_a_quiz_folder(tmp_path):
    (tmp_path / "index").write_text("/usr/share/quiz/capitals:country:capital[s]\n/usr/share/quiz/gone:a:b\n")
    (tmp_path / "capitals").write_text("France:Paris\nNetherlands:[The ]Hague|Am\\\nsterdam\n:nothing\nBroken\n")
    found = read_quiz_folder(tmp_path)
    assert [question.text for question in found] == ["country: France. capitals?", "country: Netherlands. capitals?"]
    assert found[1].answers == ("The Hague", "Hague", "Amsterdam")
    assert read_quiz_folder(tmp_path, "capitals") == found
    with pytest.raises(BadInput, match="there is no topic 'capital' .did you mean 'capitals'"):
        read_quiz_folder(tmp_path, "capital")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Stand-ins of the packages that carry questions."""
    lists = tmp_path / "redbot" / "cogs" / "trivia" / "data" / "lists"
    lists.mkdir(parents=True)
    (tmp_path / "redbot" / "__init__.py").write_text("raise RuntimeError('read, never imported')")
    questions = "".join(f"Question {i}?:\n- Answer {i}\n- {i}th\n" for i in range(20))
    (lists / "general.yaml").write_text(f"AUTHOR: someone\n{questions}https://example.org/map.png:\n- Chile\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    gym = ModuleType("reasoning_gym")

    def create_dataset(name: str, size: int, seed: int, **options: int) -> list[dict[str, object]]:
        if name == "syllogism":
            return [{"question": f"Case {i}. Does it follow?", "answer": "Yes", "metadata": {}} for i in range(size)]
        digits = options["min_digits"]
        return [
            {
                "question": "?",
                "answer": str(2 * 10**digits + i),
                "metadata": {"expression": f"{10**digits + i} + {10**digits}"},
            }
            for i in range(size)
        ]

    gym.create_dataset = create_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reasoning_gym", gym)


def test_question_sets_have_questions_that_their_answers_pass(packages):
    for name, right in (("trivia", "I think it is Answer {}."), ("arithmetic:1", "{}"), ("logic", "Yes, it does.")):
        data = read_calibration_data(name, count=10)
        assert len(data) == 10 and data.name == name
        for question in data.questions:
            answer = question.item.expected.split(" or ")[0].removeprefix("Answer ")
            assert question.grade(right.format(answer)) == 1
            assert question.grade("no idea at all") == 0
    assert read_calibration_data("arithmetic", count=9).groups.count("2 digits") == 3


def test_choices_have_one_right_option(packages):
    data = read_calibration_data("choices", count=20)
    letters = set()
    for question in data.questions:
        rights = [letter for letter in "ABCD" if question.grade(letter)]
        assert len(rights) == 1
        letters |= set(rights)
        assert question.item.question.count("\n") == 6
    assert len(letters) > 2
    assert load_question_set("choices") == load_question_set("choices")


def test_sets_that_are_not_there_say_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingExtra, match="bench"):
        load_question_set("arithmetic")
    with pytest.raises(BadInput, match="did you mean 'trivia'"):
        load_question_set("trivial")
    with pytest.raises(BadInput, match="has no topics"):
        load_question_set("logic:hard")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install --no-deps red-discordbot"):
        load_question_set("trivia")


def test_a_random_constant_moves_log_z_and_no_probability():
    import heatbath as hb

    model = MarkovModel(np.random.default_rng(0).normal(size=(4, 4)), np.zeros(4))
    trace = hb.measure(model, "abcdabcd", bos=False)
    moved = shift_gauge(trace, np.random.default_rng(1))
    for name in ("logprob", "entropy", "heat_capacity", "variance", "p_max"):
        assert moved.record[name][1:] == pytest.approx(trace.record[name][1:])
    for temperature in (0.5, 1.0, 2.0):
        assert moved.logprob(temperature)[1:] == pytest.approx(trace.logprob(temperature)[1:], abs=1e-5)
    assert (np.abs(moved.record["log_z"] - trace.record["log_z"])[1:] > 1e-3).all()
    assert moved.log_z.log_z(1.0)[1:] == pytest.approx(moved.record["log_z"][1:], abs=1e-5)


def test_a_random_constant_moves_the_signals_that_say_so_and_no_others():
    import heatbath as hb

    model = MarkovModel(np.random.default_rng(0).normal(size=(4, 4)), np.zeros(4))
    trace = hb.measure(model, "abcdabcd", bos=False)
    names = SIGNALS.list_names(aggregations=True, without=("samples", "prompt", "model"))
    before, after = (
        compute_signals(Evidence(trace=one), names) for one in (trace, shift_gauge(trace, np.random.default_rng(1)))
    )
    moved = {name for name in names if not np.isclose(before[name].value, after[name].value, 1e-6, 1e-6, True)}
    assert moved == {name for name in names if not SIGNALS.find(name).spec.is_gauge_invariant}


def test_the_control_finds_a_signal_that_says_it_is_invariant_and_is_not():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 50)
    values = labels[:, None] + rng.normal(size=(100, 3))
    columns = [SignalDescription("fixed"), SignalDescription("liar"), SignalDescription("log_z", 1, 0, False)]
    shifted = values + np.array([0, 1, 1]) * 10 * rng.normal(size=(100, 1))
    effects = compare_gauges(SignalTable(tuple(columns), values, labels), shifted)
    assert [one.moves for one in effects] == [False, True, True]
    assert [one.is_as_stated for one in effects] == [True, False, True]
    assert effects[0].auroc == effects[0].auroc_shifted
    assert abs(effects[2].auroc_shifted - 0.5) < 0.2 < effects[2].auroc - 0.4


def test_a_model_judges_by_the_probabilities_of_yes_and_no():
    """A Markov chain of words that says Yes after a prompt that ends in one letter, and No after another."""
    judge = build_model_judge(YesModel())
    assert judge("a", "b", "1") and not judge("a", "b", "2")
    data = read_calibration_data([{"prompt": "a", "answer": "b"}], judge=judge)
    assert data.questions[0].grade("1") == 1 and data.questions[0].grade("2") == 0
    assert data.digest != read_calibration_data([{"prompt": "a", "answer": "b"}]).digest
    with pytest.raises(BadInput, match="give one of them"):
        read_calibration_data([{"prompt": "a", "answer": "b"}], judge=judge, scorer=lambda prompt, text: True)
