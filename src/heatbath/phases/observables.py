"""Observables of a text: repetition, loops, variety, compressed size, length, and functions of the user.

They are functions of tokens and text alone; quantities that depend on the temperature as well, such as the entropy,
are in `curves`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput

Floats = NDArray[np.float64]
TextFunction = Callable[[str], float]

TEXT_OBSERVABLES = (
    "loop fraction",
    "stale fraction",
    "repetition",
    "distinct bigrams",
    "compressed size",
    "characters",
)
"""The observables that every sweep measures on its texts."""
FINISHED_OBSERVABLES = ("finished fraction", "tokens")
"""Those of sweeps whose texts may end by themselves."""

_ZLIB_FRAME = 8


def detect_loops(tokens_nt: NDArray[np.int32], length: int) -> Floats:
    """Return 1 for texts whose first `length` tokens end in a cycle: in the second half, at least two periods, (n,).

    A text that has ended before is in no cycle.
    """
    tail = tokens_nt[:, length // 2 : length]
    loops = np.zeros(len(tail), np.bool_)
    for period in range(1, tail.shape[1] // 2 + 1):
        rest = np.flatnonzero(~loops)
        loops[rest] = (tail[rest, period:] == tail[rest, :-period]).all(1)
    return (loops & (tokens_nt[:, length - 1] >= 0)).astype(np.float64)


def detect_stale_texts(pieces_nt: Sequence[Sequence[bytes]], length: int) -> Floats:
    """Return 1 for texts whose second half mostly repeats the first, by compressed size: 0 or 1, (n,).

    A text that has ended before `length` tokens is not stale.
    """
    middle = length // 2
    return np.array(
        [len(p) >= length and _novelty(b"".join(p[:middle]), b"".join(p[middle:length])) < 0.5 for p in pieces_nt],
        np.float64,
    )


def _novelty(first: bytes, second: bytes) -> float:
    """Share of the compressed size of `second` that remains when `first` is known."""
    alone = _compressed_size(second)
    return (_compressed_size(first + second) - _compressed_size(first)) / alone if alone > 0 else 1.0


def _compressed_size(data: bytes) -> int:
    return len(zlib.compress(data, 9)) - _ZLIB_FRAME


def compressibility(pieces_nt: Sequence[Sequence[bytes]]) -> Floats:
    """Return the ratio of compressed size to size of each text, in bytes; 1 for an empty text."""
    texts = [b"".join(pieces) for pieces in pieces_nt]
    return np.array([_compressed_size(text) / len(text) if text else 1.0 for text in texts])


def distinct_ngram_share(tokens_nt: NDArray[np.int32], n: int = 2) -> Floats:
    """Return the share of distinct n-grams of each sequence, (n,); 1 for one without an n-gram."""
    width = tokens_nt.shape[1] - n + 1
    if width < 1:
        return np.ones(len(tokens_nt))
    grams = np.stack([tokens_nt[:, i : i + width] for i in range(n)], axis=2)
    counts = np.clip((tokens_nt >= 0).sum(1) - n + 1, 0, width)
    shares = [len(np.unique(row[:count], axis=0)) / max(count, 1) for row, count in zip(grams, counts, strict=True)]
    return np.where(counts > 0, shares, 1.0)


def repetition(tokens_nt: NDArray[np.int32], window: int = 32) -> Floats:
    """Return the share of tokens that occur among the `window` tokens before them, (n,)."""
    repeated = np.zeros(tokens_nt.shape, np.bool_)
    for lag in range(1, min(window, tokens_nt.shape[1] - 1) + 1):
        repeated[:, lag:] |= tokens_nt[:, lag:] == tokens_nt[:, :-lag]
    present = tokens_nt >= 0
    return np.asarray((repeated & present).sum(1) / np.maximum(present.sum(1), 1))


def measure_observables(
    tokens_nt: NDArray[np.int32],
    pieces_nt: Sequence[Sequence[bytes]],
    functions: Mapping[str, TextFunction],
    *,
    may_end: bool = False,
) -> dict[str, Floats]:
    """Measure every observable of every sequence, (n,) each, under the names in reports.

    Args:
        tokens_nt: the tokens, -1 beyond the end of a text.
        pieces_nt: the bytes of each token, without those of the token that ended the text.
        functions: functions of the user by name.
        may_end: texts may end by themselves, and the share of those that did is measured.

    Raises:
        BadInput: a function of the user returns something other than a finite number.
    """
    length = tokens_nt.shape[1]
    values = (
        detect_loops(tokens_nt, length),
        detect_stale_texts(pieces_nt, length),
        repetition(tokens_nt),
        distinct_ngram_share(tokens_nt),
        compressibility(pieces_nt),
        np.array([float(len(_decode_text(pieces))) for pieces in pieces_nt]),
    )
    own = {name: _apply_text_function(name, function, pieces_nt) for name, function in functions.items()}
    ends: dict[str, Floats] = {}
    if may_end:
        lengths = (tokens_nt >= 0).sum(1)
        finished = lengths > [len(pieces) for pieces in pieces_nt]
        ends = dict(zip(FINISHED_OBSERVABLES, (finished.astype(np.float64), lengths.astype(np.float64)), strict=True))
    return dict(zip(TEXT_OBSERVABLES, values, strict=True)) | ends | own


def _apply_text_function(name: str, function: TextFunction, pieces_nt: Sequence[Sequence[bytes]]) -> Floats:
    values = []
    for pieces in pieces_nt:
        value = function(_decode_text(pieces))
        if not np.isfinite(value):
            raise BadInput(
                f"the observable {name!r} must return a finite number, got {value} for {_decode_text(pieces)[:60]!r}."
            )
        values.append(float(value))
    return np.array(values)


def _decode_text(pieces: Sequence[bytes]) -> str:
    return b"".join(pieces).decode("utf-8", errors="replace")
