"""Chunks: slices by construction, sections kept apart, overlap, progress on any text."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.retrieval.document_chunks import ChunkPlan, find_words, split_document
from heatbath.retrieval.loaders import load_document
from heatbath.retrieval.loaders.loaded_document import LoadedDocument, whole_section

PIECES = st.sampled_from(
    [
        "chunk",
        " ",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "e\u0301",
        "é",
        "repeat this. ",
        "repeat this. ",
        "字",
        "😀",
        "# H\n",
        "\t",
        ".",
    ]
)
TEXTS = st.lists(PIECES, max_size=80).map("".join) | st.text(max_size=60)


def split(text: str, plan: ChunkPlan) -> list[str]:
    chunks = split_document(LoadedDocument(text, "t", whole_section(text, "t")), plan, find_words)
    return [text[each.start : each.end] for each in chunks]


@given(TEXTS, st.integers(1, 12), st.data())
def test_chunks_are_slices_that_cover_every_word_within_the_limit(text: str, tokens: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tokens))
    document = LoadedDocument(text, "t", whole_section(text, "t"))
    chunks = split_document(document, ChunkPlan(tokens, overlap), find_words)
    covered = {place for each in chunks for place in range(each.start, each.end)}
    words = find_words([text])[0].tolist()
    assert all(set(range(start, end)) <= covered for start, end in words)
    heads = [span for span in words if not unicodedata.combining(text[span[0]])]  # accents stay with their letter
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= len(text)
        inside = [1 for start, end in heads if chunk.start <= start and end <= chunk.end]
        assert len(inside) <= tokens
        assert text[chunk.start : chunk.end].strip() == text[chunk.start : chunk.end]
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(chunks))


@given(TEXTS)
def test_sections_of_markdown_are_never_crossed(text: str) -> None:
    try:
        document = load_document(text.encode("utf-8", "replace"), "a.md")
    except BadInput:
        reject()
    chunks = split_document(document, ChunkPlan(5, 2), find_words)
    bounds = [(each.start, each.end) for each in document.sections]
    assert all(any(low <= each.start and each.end <= high for low, high in bounds) for each in chunks)


def test_the_text_chunk_chunk_with_full_overlap_moves_on() -> None:
    text = "chunk chunk chunk chunk chunk chunk chunk"
    assert split(text, ChunkPlan(5, 5)) == [" ".join(["chunk"] * 5)] * 3
    assert split("chunk chunk", ChunkPlan(5, 5)) == ["chunk chunk"]


def test_repeated_paragraphs_have_their_own_places() -> None:
    text = "Same words here.\r\n\r\nSame words here.\r\n\r\nSame words here."
    chunks = split_document(LoadedDocument(text, "t", whole_section(text, "t")), ChunkPlan(5, 0), find_words)
    assert [each.start for each in chunks] == [0, 20, 40]


def test_a_cut_prefers_an_empty_line_then_a_line_end_then_a_sentence() -> None:
    assert split("a b c d\n\ne f g h", ChunkPlan(6, 0)) == ["a b c d", "e f g h"]
    assert split("a b c d\ne f g h", ChunkPlan(6, 0)) == ["a b c d", "e f g h"]
    assert split("a b c. e f g h", ChunkPlan(6, 0)) == ["a b c.", "e f g h"]


def test_overlap_repeats_from_the_best_break_in_reach() -> None:
    assert split("one two. three four five six seven", ChunkPlan(6, 3)) == [
        "one two. three four five",
        "three four five six seven",
    ]


def test_a_cut_never_parts_a_letter_from_its_accent() -> None:
    text = "e\u0301" * 12

    def find_letters(texts: list[str]) -> list:  # type: ignore[type-arg]
        import numpy as np

        return [np.array([(i, i + 1) for i, c in enumerate(each) if c == "e"]) for each in texts]

    document = LoadedDocument(text, "t", whole_section(text, "t"))
    chunks = split_document(document, ChunkPlan(5, 0), find_letters)  # type: ignore[arg-type]
    assert [text[each.start : each.end] for each in chunks] == ["e\u0301" * 5, "e\u0301" * 5, "e\u0301" * 2]


def test_long_texts_are_tokenized_in_segments_with_the_same_result() -> None:
    text = "word " * 9000
    assert split(text, ChunkPlan(1000, 0)) == [("word " * 1000).strip()] * 9


@pytest.mark.parametrize(("tokens", "overlap", "name"), [(0, 0, "tokens"), (5, 6, "overlap"), (5, -1, "overlap")])
def test_sizes_that_make_no_sense_get_a_sentence(tokens: int, overlap: int, name: str) -> None:
    with pytest.raises(BadInput, match=f"`{name}` must be"):
        ChunkPlan(tokens, overlap)
