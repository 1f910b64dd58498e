"""Markers, quotes and parts of answers: what was written, resolved to what was shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from passages import make_passages

from heatbath.errors import BadInput
from heatbath.retrieval.answer_units import AnswerUnit, locate_units, split_text
from heatbath.retrieval.citations import PassageEvidence, build_claims, list_removals, remove_unsupported
from heatbath.retrieval.evidence_prompt import EvidencePrompt
from heatbath.retrieval.markers import find_marker_spans, find_markers, find_quotes
from heatbath.retrieval.support import Support

SIX = make_passages([f"This is passage number {number}." for number in range(1, 7)])


def test_markers_are_the_passages_as_shown() -> None:
    text = "One [1]. Four [4], again [4]. Nine [9]. Zero [0]. A letter [x]. Two [1,2] and [1][2] and [2-4]."
    found = find_markers(text, len(SIX))
    assert [marker.numbers for marker in found] == [(1,), (4,), (4,), (), (), (), (1, 2), (1,), (2,), (2, 3, 4)]
    assert [marker.unknown for marker in found if marker.unknown] == [("9",), ("0",), ("x",)]
    assert all(text[marker.start] == "[" and text[marker.end - 1] == "]" for marker in found)


def test_links_and_remarks_are_no_markers() -> None:
    assert find_markers("See [1](http://x) and [citation needed], a[i + 1], [].", 6) == []
    assert find_markers("[1, 9; 3]", 6)[0].numbers == (1, 3)
    assert find_markers("[1-99999999999]", 6)[0].unknown == ("99999999999",)
    assert find_markers("[" + "9" * 30 + "]", 6)[0].numbers == ()


def test_reranked_lists_do_not_change_what_a_number_means() -> None:
    prompt = EvidencePrompt("Which?", SIX, "")
    text = prompt.render()
    for number, passage in enumerate(SIX, 1):
        assert f"[{number}] {passage.title}\n{passage.text}" in text
    without = prompt.render([3])
    assert "[3]" not in without and "number 3" not in without and "[4] Document 4" in without
    assert text[: text.index("[3]")] == without[: without.index("[4]")], "what comes before begins alike"


def test_quotes_are_verified() -> None:
    passages = make_passages(["The  cat sat on\nthe mat.", "A dog’s life is hard."])
    found = find_quotes(
        'It says "the cat sat on the mat" and “a dog\'s life” but "the dog sat on it" and "mat".', passages
    )
    assert [quote.passages for quote in found] == [(1,), (2,), ()]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It is 3.14 or so. [1] Then [2].", ["It is 3.14 or so. [1]", "Then [2]."]),
        ("Dr. Who lives. He said \"No.\" Yes.", ["Dr. Who lives.", 'He said "No."', "Yes."]),
        ("The answer is 42. It is so.", ["The answer is 42.", "It is so."]),
        ("1. First\n2. Second", ["1. First", "2. Second"]),
        ("  \n ", []),
        ("今日は。明日は！", ["今日は。", "明日は！"]),
    ],
)  # fmt: skip
def test_sentences(text: str, parts: list[str]) -> None:
    assert [text[begin:end] for begin, end in split_text(text)] == parts


def test_paragraphs_and_whole_answers() -> None:
    text = "One. Two.\n\nThree.\n"
    assert [text[slice(*span)] for span in split_text(text, "paragraph")] == ["One. Two.", "Three."]
    assert [text[slice(*span)] for span in split_text(text, "answer")] == ["One. Two.\n\nThree."]


@given(text=st.text("aé. \n", max_size=40), size=st.integers(1, 5))
def test_tokens_of_parts_are_in_order_and_cover_all_text(text: str, size: int) -> None:
    data = text.encode()
    tokens = [data[i : i + size] for i in range(0, len(data), size)]
    units = locate_units(text, tokens)
    runs = [run for unit in units for run in unit.token_spans]
    assert runs == sorted(runs) and all(begin < end <= len(tokens) for begin, end in runs)
    covered = {i for unit in units for i in range(unit.start, unit.end)}
    if units and len(units) == len(split_text(text)):
        assert all(i in covered for i, character in enumerate(text) if not character.isspace())
        assert sum(end - begin for begin, end in runs) >= len(data.rstrip()) // size


def test_tokens_of_markers_do_not_count() -> None:
    text = "Äh so [1]. No[2] way [x]"
    tokens = [b"\xc3", b"\x84h", b" so", b" [", b"1", b"].", b" No", b"[2", b"]", b" way", b" [x]"]
    assert b"".join(tokens).decode() == text
    units = locate_units(text, tokens, skipped=find_marker_spans(text))
    assert [unit.token_spans for unit in units] == [((0, 3),), ((6, 7), (9, 10))]


def evidence(nats: list[list[float]], repeats: list[tuple[int, ...]] | None = None) -> PassageEvidence:
    removals = list_removals(2, repeats or [])
    return PassageEvidence(SIX[:2], removals, Support(np.array(nats), np.full(len(nats), -4.0)))


TEXT = "It is so [1]. It is not [2]. Nobody knows."
UNITS = [AnswerUnit(*span, ((end - 1, end),)) for end, span in enumerate(split_text(TEXT), 1)]


def test_a_citation_is_causal() -> None:
    claims = build_claims(TEXT, UNITS, evidence([[5.0, 0.1], [3.0, 0.2], [0.0, 0.0]]))
    assert [[(c.number, c.is_written, c.is_supported) for c in claim.citations] for claim in claims] == [
        [(1, True, True)],
        [(1, False, True), (2, True, False)],
        [],
    ]
    assert [claim.is_supported for claim in claims] == [True, True, False]
    assert [citation.number for claim in claims for citation in claim.refused_citations] == [2]
    assert remove_unsupported(TEXT, claims) == ("It is so [1]. It is not [2].", claims[:2])


def test_claims_move_when_those_before_them_are_removed() -> None:
    claims = build_claims(TEXT, UNITS, evidence([[0.0, 0.0], [3.0, 0.2], [4.0, 0.0]]))
    text, moved = remove_unsupported(TEXT, claims)
    assert text == "It is not [2]. Nobody knows."
    assert [text[claim.start : claim.end] for claim in moved] == ["It is not [2].", "Nobody knows."]
    marker = moved[0].markers[0]
    assert text[marker.start : marker.end] == "[2]"


def test_passages_that_repeat_one_another_support_together() -> None:
    alone = evidence([[0.1, 0.1]])
    assert not build_claims("It is so [1].", UNITS[:1], alone)[0].is_supported
    together = evidence([[0.1, 0.1, 6.0]], [(1, 2)])
    assert build_claims("It is so [1].", UNITS[:1], together)[0].citations[0].is_supported


def test_a_threshold_is_positive() -> None:
    with pytest.raises(BadInput, match="above 0"):
        build_claims(TEXT, UNITS, evidence([[0.0, 0.0]] * 3), threshold=0.0)
