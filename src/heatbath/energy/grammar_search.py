"""A bounded search for the shortest match of a grammar, in tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
TokenMaskFunction = Callable[[Any], Bits]

_MAX_DEPTH = 256
_BEAM_WIDTH = 4
_MAX_CANDIDATES = 24
_MAX_EFFORT = 60_000
_MAX_PROOF_EFFORT = 4000
_MASK_COST = 10


@dataclass(frozen=True)
class GrammarSearchResult:
    """The number of tokens of the shortest match found, if any; `is_impossible` if there is provably none."""

    length: int | None = None
    is_impossible: bool = False


def find_shortest_match(
    matcher: Any, compute_mask: TokenMaskFunction, pieces: Sequence[bytes], *, max_tokens: int | None = None
) -> GrammarSearchResult:
    """Search for a match of at most `max_tokens` tokens: a beam search to find one, a full one to rule it out.

    `compute_mask(matcher)` returns one bit per token. Both searches are bounded, so the result may be neither.
    """
    if matcher.is_accepting():
        return GrammarSearchResult(0)
    length = _search_beam(matcher, compute_mask, pieces, min(max_tokens or _MAX_DEPTH, _MAX_DEPTH))
    return (
        GrammarSearchResult(length)
        if length is not None
        else _search_exhaustively(matcher, compute_mask, pieces, max_tokens)
    )


def has_no_match(matcher: Any, compute_mask: TokenMaskFunction, pieces: Sequence[bytes]) -> bool:
    """Return whether a short search proves that no tokens match; False where there is a match or it cannot tell."""
    if matcher.is_accepting():
        return False
    return _search_exhaustively(matcher, compute_mask, pieces, None, max_effort=_MAX_PROOF_EFFORT).is_impossible


def _search_beam(matcher: Any, compute_mask: TokenMaskFunction, pieces: Sequence[bytes], max_tokens: int) -> int | None:
    """Extend a few parsers by a few tokens each, those with the fewest continuations first, then the longest.

    Of two parsers that allow the same tokens only the one with more text is kept.
    """
    front = [(matcher, compute_mask(matcher), 0)]
    for depth in range(1, max_tokens + 1):
        states: dict[bytes, tuple[Any, Bits, int]] = {}
        for parent, bits, length in front:
            for token, child in _iterate_children(
                parent, _select_candidates(_decode_token_mask(bits, len(pieces)), pieces)
            ):
                if child.is_accepting():
                    return depth
                mask, text_length = compute_mask(child), length + len(pieces[token])
                key = mask.tobytes()
                if key not in states or states[key][2] < text_length:
                    states[key] = child, mask, text_length
        alive = [state for state in states.values() if state[1].any()]
        front = sorted(alive, key=lambda state: (int(np.bitwise_count(state[1]).sum()), -state[2]))[:_BEAM_WIDTH]
    return None


def _search_exhaustively(
    matcher: Any,
    compute_mask: TokenMaskFunction,
    pieces: Sequence[bytes],
    max_tokens: int | None,
    *,
    max_effort: int | None = None,
) -> GrammarSearchResult:
    """Extend every parser by every token; parsers with the same text have the same continuations and are merged.

    A parser takes some 10 KB, and there may be as many as tokens: those of the next depth are made when they are used.
    """
    front: dict[bytes, Callable[[], Any]] = {b"": lambda: matcher}
    effort, depth = 0, 0
    while front and (max_tokens is None or depth < max_tokens):
        depth += 1
        states: dict[bytes, Callable[[], Any]] = {}
        for text, build_parent in front.items():
            parent = build_parent()
            tokens = _decode_token_mask(compute_mask(parent), len(pieces))
            effort += _MASK_COST + len(tokens)
            if effort > (_MAX_EFFORT if max_effort is None else max_effort):
                return GrammarSearchResult()
            for token, child in _iterate_children(parent, tokens):
                if child.is_accepting():
                    return GrammarSearchResult(depth)
                states.setdefault(text + pieces[token], partial(_extend_parser, parent, token))
        front = states
    return GrammarSearchResult(is_impossible=True)


def _extend_parser(parent: Any, token: int) -> Any:
    child = parent.deep_copy()
    child.try_consume_tokens([token])
    return child


def _iterate_children(parent: Any, tokens: Sequence[int]) -> Iterator[tuple[int, Any]]:
    for token in tokens:
        child = parent.deep_copy()
        if child.try_consume_tokens([token]):
            yield token, child


def _decode_token_mask(bits: Bits, size: int) -> list[int]:
    return [int(token) for token in np.flatnonzero(np.unpackbits(bits, bitorder="little")[:size])]


def _select_candidates(tokens: list[int], pieces: Sequence[bytes]) -> list[int]:
    """Pick short tokens, punctuation first since it closes structures, and the longest, which add most text."""
    if len(tokens) <= _MAX_CANDIDATES:
        return tokens
    tokens = sorted(tokens, key=lambda token: (pieces[token][:1].isalnum(), len(pieces[token])))
    longest = sorted(tokens, key=lambda token: -len(pieces[token]))[: _MAX_CANDIDATES // 3]
    return list(dict.fromkeys(tokens[: _MAX_CANDIDATES - len(longest)] + longest))
