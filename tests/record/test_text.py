"""Bytes to text: however a text is split into tokens, the joined text is the text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from heatbath.record import Utf8Decoder, decode_pieces


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[i:j] for i, j in pairwise(edges)]


@given(st.text(min_size=1), st.lists(st.integers(0, 10_000)))
def test_any_split_of_a_text_joins_to_the_text(text: str, cuts: list[int]) -> None:
    pieces = split(text.encode("utf-8", "surrogatepass"), cuts)
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert "".join(decode_pieces(pieces)) == text
        assert ("�" in "".join(decode_pieces(pieces))) == ("�" in text)


@given(st.binary(), st.lists(st.integers(0, 10_000)))
def test_bytes_that_are_no_utf8_read_as_when_decoded_at_once(data: bytes, cuts: list[int]) -> None:
    assert "".join(decode_pieces(split(data, cuts))) == data.decode("utf-8", errors="replace")


def test_the_token_that_completes_a_character_gets_it() -> None:
    snow = "☃".encode()
    assert decode_pieces([b"a", snow[:1], snow[1:2], snow[2:] + b"b"]) == ["a", "", "", "☃b"]


def test_a_character_cut_short_shows_at_the_end_only() -> None:
    assert decode_pieces([b"a", "☃".encode()[:2]]) == ["a", "�"]


def test_speller_without_bytes_says_nothing() -> None:
    assert Utf8Decoder().flush() == ""
    assert decode_pieces([]) == []
