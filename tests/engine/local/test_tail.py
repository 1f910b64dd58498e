"""The text of an answer does not depend on how it came in pieces, and ends at the first stop."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.engine.stop_strings import IncrementalDetokenizer, StopStrings
from heatbath.errors import BadInput

LETTERS = st.text("abé€", max_size=24)
STOPS = st.lists(st.text("abé", min_size=1, max_size=4), max_size=3)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


def shown(pieces: list[bytes], stops: StopStrings, keep: bool) -> tuple[list[str], str | None]:
    tail = IncrementalDetokenizer(stops, keep_stop=keep)
    parts = []
    for piece in pieces:
        parts.append(tail.push(piece))
        if tail.matched_stop is not None:
            return parts, tail.matched_stop
    return [*parts, tail.flush()], tail.matched_stop


def first_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    """By definition: the shortest beginning of the text that ends with a stop, without the longest such."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            stop = max(found, key=len)
            return text[: end - len(stop)], stop
    return text, None


@given(LETTERS, STOPS, st.lists(st.integers(0, 99), max_size=8), st.booleans())
def test_text_is_that_up_to_the_first_stop(text: str, stops: list[str], places: list[int], keep: bool) -> None:
    wanted, stop = first_stop(text, stops)
    parts, stopped = shown(cut(text.encode(), places), StopStrings(tuple(stops)), keep)
    assert stopped == stop
    assert "".join(parts) == wanted + (stop if keep and stop else "")


@given(LETTERS, STOPS, st.lists(st.integers(0, 99), max_size=8))
def test_nothing_is_shown_that_would_have_to_be_taken_back(text: str, stops: list[str], places: list[int]) -> None:
    pieces = cut(text.encode(), places)
    for count in range(len(pieces)):
        parts, stopped = shown(pieces[: count + 1], StopStrings(tuple(stops)), False)
        if stopped is None:
            so_far = "".join(parts[:-1])
            assert first_stop(text, stops)[0].startswith(so_far)


@given(st.binary(max_size=12), st.lists(st.integers(0, 99), max_size=5))
def test_bytes_that_are_no_text_become_replacement_characters(data: bytes, places: list[int]) -> None:
    parts, _ = shown(cut(data, places), StopStrings(), False)
    assert "".join(parts) == data.decode("utf-8", errors="replace")


def test_text_comes_as_soon_as_it_may() -> None:
    tail = IncrementalDetokenizer(StopStrings(("END",)))
    assert [tail.push(piece) for piece in (b"a", b" E", b"N", b"x E")] == ["a", " ", "", "ENx "]
    assert tail.flush() == "E"
    assert IncrementalDetokenizer(StopStrings()).push("é".encode()[:1]) == ""


def test_stops_that_cannot_be_looked_for_are_refused() -> None:
    for stops in (("",), ("a",) * 1000, ("a" * 5000,)):
        with pytest.raises(BadInput, match="stop"):
            StopStrings(stops)
