"""How soon a match of a grammar can be finished, in tokens: a search of bounded effort."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
Allowed = Callable[[Any], Bits]

_DEEPEST = 256
_WIDTH = 4
_TRIED = 24
_EFFORT = 60_000
_MASK = 10


@dataclass(frozen=True)
class Completion:
    """The fewest tokens of a match that the search found, if it did; `impossible` if it showed that there is none."""

    length: int | None = None
    impossible: bool = False


def shortest(matcher: Any, allowed: Allowed, pieces: Sequence[bytes], *, most: int | None = None) -> Completion:
    """Look for a match of at most `most` tokens: a narrow search finds one, a full one shows that there is none.

    `allowed(matcher)` gives a bit for each token. Both searches are bounded, so the answer may be neither.
    """
    if matcher.is_accepting():
        return Completion(0)
    length = _narrow(matcher, allowed, pieces, min(most or _DEEPEST, _DEEPEST))
    return Completion(length) if length is not None else _full(matcher, allowed, pieces, most)


def _narrow(matcher: Any, allowed: Allowed, pieces: Sequence[bytes], most: int) -> int | None:
    """Follow a few parsers by a few tokens each: first those with the fewest ways to go on, then the farthest.

    Of two that allow the same tokens only the farther one is followed.
    """
    front = [(matcher, allowed(matcher), 0)]
    for depth in range(1, most + 1):
        found: dict[bytes, tuple[Any, Bits, int]] = {}
        for parent, bits, length in front:
            for token, child in _children(parent, _few(_tokens(bits, len(pieces)), pieces)):
                if child.is_accepting():
                    return depth
                after, far = allowed(child), length + len(pieces[token])
                key = after.tobytes()
                if key not in found or found[key][2] < far:
                    found[key] = child, after, far
        alive = [state for state in found.values() if state[1].any()]
        front = sorted(alive, key=lambda state: (int(np.bitwise_count(state[1]).sum()), -state[2]))[:_WIDTH]
    return None


def _full(matcher: Any, allowed: Allowed, pieces: Sequence[bytes], most: int | None) -> Completion:
    """Follow every parser by every token; where the bytes are the same, so is what can follow."""
    front, effort, depth = {b"": matcher}, 0, 0
    while front and (most is None or depth < most):
        depth += 1
        found: dict[bytes, Any] = {}
        for text, parent in front.items():
            tokens = _tokens(allowed(parent), len(pieces))
            effort += _MASK + len(tokens)
            if effort > _EFFORT:
                return Completion()
            for token, child in _children(parent, tokens):
                if child.is_accepting():
                    return Completion(depth)
                found.setdefault(text + pieces[token], child)
        front = found
    return Completion(impossible=True)


def _children(parent: Any, tokens: Sequence[int]) -> Iterator[tuple[int, Any]]:
    for token in tokens:
        child = parent.deep_copy()
        if child.try_consume_tokens([token]):
            yield token, child


def _tokens(bits: Bits, size: int) -> list[int]:
    return [int(token) for token in np.flatnonzero(np.unpackbits(bits, bitorder="little")[:size])]


def _few(tokens: list[int], pieces: Sequence[bytes]) -> list[int]:
    """Of many tokens the short ones, signs before letters, since signs end things; and the longest, which go far."""
    if len(tokens) <= _TRIED:
        return tokens
    tokens = sorted(tokens, key=lambda token: (pieces[token][:1].isalnum(), len(pieces[token])))
    longest = sorted(tokens, key=lambda token: -len(pieces[token]))[: _TRIED // 3]
    return list(dict.fromkeys(tokens[: _TRIED - len(longest)] + longest))
