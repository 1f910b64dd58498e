"""Teacher forcing as a stream: the decoder runs over a piece of text, the output head over a few positions at a time.

What would be (B, T, V) never exists: at most `WINDOW_BYTES` of logits are alive, whatever the length of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heatbath.models.base import Tokens, Window
from heatbath.models.network import Network

CHUNK = 512
BATCH_POSITIONS = 2048
WINDOW_BYTES = 1 << 26
LARGEST_WINDOW = 256

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Group:
    """Sequences scored together: `rows` name them, `tokens` (B, T) are padded on the right, `lengths` (B,)."""

    rows: Ints
    tokens: Ints
    lengths: Ints


def score_windows(network: Network, sequences: Sequence[Tokens]) -> Iterator[Window]:
    """Every position that has a token before it, once, in order within a sequence. Sequences fit the context."""
    pieces = _by_hidden if network.plain_head else _by_logits
    most = len(sequences) if network.plain_head else LARGEST_WINDOW // 4
    for group in _groups(sequences, most):
        yield from pieces(network, group)


def window_size(vocab: int, itemsize: int) -> int:
    """How many positions of logits fit the memory set aside for them."""
    return max(16, min(LARGEST_WINDOW, WINDOW_BYTES // (vocab * itemsize)))


def _by_hidden(network: Network, group: _Group) -> Iterator[Window]:
    """Decoder over long pieces, head over short ones: the fast way, where the head is a plain matrix."""
    size = window_size(network.config.vocab_size, network.module.dtype.itemsize)
    width = group.tokens.shape[1] - 1
    step = CHUNK if network.windows is not None else width
    cache = network.cache() if width > step else None
    for begin in range(0, width, step):
        tokens = _tensor(network, group.tokens[:, begin : min(begin + step, width)])
        with torch.inference_mode():
            hidden = network.hidden(tokens, cache)
        rows, columns = _predicting(group, begin, begin + tokens.shape[1])
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            with torch.inference_mode():
                energies = network.head(hidden[rows[part], columns[part] - begin])
            yield _window(group, rows[part], columns[part], energies)


def _by_logits(network: Network, group: _Group) -> Iterator[Window]:
    """The model's own forward pass over short pieces, for heads that cap or scale."""
    size = window_size(network.config.vocab_size, network.module.dtype.itemsize)
    width, batch = group.tokens.shape[1] - 1, len(group.rows)
    step = max(1, size // batch)
    cache = network.cache() if network.windows is not None else None
    for begin in range(0, width, step):
        end = min(begin + step, width)
        rows, columns = _predicting(group, begin, end)
        with torch.inference_mode():
            if cache is not None:
                logits = network.logits(_tensor(network, group.tokens[:, begin:end]), cache, keep=0)
            else:
                logits = network.logits(_tensor(network, group.tokens[:, :end]), keep=end - begin)
            energies = logits[rows, columns - begin].neg_()
        yield _window(group, rows, columns, energies)


def _predicting(group: _Group, begin: int, end: int) -> tuple[Ints, Ints]:
    """(row, position) pairs in [begin, end) that have a next token, row by row."""
    rows, columns = np.nonzero(np.arange(begin, end) < group.lengths[:, None] - 1)
    return rows, columns + begin


def _window(group: _Group, rows: Ints, columns: Ints, energies: torch.Tensor) -> Window:
    return Window(
        rows=group.rows[rows].tolist(),
        positions=(columns + 1).tolist(),
        targets=group.tokens[rows, columns + 1].tolist(),
        energies=energies,
    )


def _tensor(network: Network, tokens: Ints) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(tokens)).to(network.device)


def _groups(sequences: Sequence[Tokens], most: int) -> Iterator[_Group]:
    """Sequences of like length together, so that padding is small and a batch holds a bounded number of positions."""
    lengths = np.array([len(tokens) for tokens in sequences], dtype=np.int64)
    order = [row for row in np.argsort(lengths, kind="stable").tolist() if lengths[row] > 1]
    while order:
        count = min(most, _batch(lengths[order]))
        rows, order = np.array(order[:count]), order[count:]
        yield _Group(rows, _right_padded([sequences[row] for row in rows]), lengths[rows])


def _batch(lengths: Ints) -> int:
    """How many of the first sequences, sorted by length, fit the positions a batch may hold."""
    positions = np.minimum(lengths, CHUNK) * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(positions, BATCH_POSITIONS, side="right")))


def _right_padded(rows: Sequence[Tokens]) -> Ints:
    tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for row, sequence in enumerate(rows):
        tokens[row, : len(sequence)] = sequence
    return tokens
