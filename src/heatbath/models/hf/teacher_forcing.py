"""Streamed teacher forcing: the decoder runs over long chunks, the output head over a few positions at a time.

Logits of shape (B, T, V) never exist: at most `MAX_LOGITS_BYTES` are held, whatever the length of the text. They are in
float32 at least, since a log-probability in bfloat16 would be rounded to a multiple of 1/8 nat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heatbath.models.base import ScoreChunk, Tokens
from heatbath.models.hf.network import Network

DECODER_CHUNK = 512
MAX_BATCH_POSITIONS = 2048
MAX_LOGITS_BYTES = 1 << 26
MAX_CHUNK_POSITIONS = 256

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _SequenceGroup:
    """Sequences scored together: their numbers `rows` (B,), `tokens` (B, T) padded on the right, and `lengths` (B,)."""

    rows: Ints
    tokens: Ints
    lengths: Ints


def score_chunks(
    network: Network, sequences: Sequence[Tokens], *, max_positions: int = DECODER_CHUNK
) -> Iterator[ScoreChunk]:
    """Yield the energies of every position that has a token before it, in order within a sequence.

    `sequences` must fit the context. The decoder runs over `max_positions` of each at a time.
    """
    score_group = _score_from_hidden_states if network.has_plain_head else _score_from_logits
    max_rows = len(sequences) if network.has_plain_head else MAX_CHUNK_POSITIONS // 4
    for group in _group_by_length(sequences, max_rows):
        yield from score_group(network, group, max_positions)


def positions_per_chunk(vocab_size: int, itemsize: int) -> int:
    """Return the number of positions whose logits fit `MAX_LOGITS_BYTES`, within bounds."""
    return max(16, min(MAX_CHUNK_POSITIONS, MAX_LOGITS_BYTES // (vocab_size * itemsize)))


def _score_from_hidden_states(network: Network, group: _SequenceGroup, max_positions: int) -> Iterator[ScoreChunk]:
    """Run the decoder over long chunks and the head over short ones: the fast way, for a head that is a matrix."""
    size = positions_per_chunk(network.config.vocab_size, max(4, network.module.dtype.itemsize))
    width = group.tokens.shape[1] - 1
    step = max_positions if network.windows is not None else width
    cache = network.new_kv_cache() if width > step else None
    for begin in range(0, width, step):
        tokens = _to_tensor(network, group.tokens[:, begin : min(begin + step, width)])
        with torch.inference_mode():
            hidden = network.hidden_states(tokens, cache)
        rows, columns = _select_predicting_positions(group, begin, begin + tokens.shape[1])
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            with torch.inference_mode():
                energies = network.head_energies(hidden[rows[part], columns[part] - begin], wide=True)
            yield _build_chunk(group, rows[part], columns[part], energies)


def _score_from_logits(network: Network, group: _SequenceGroup, max_positions: int) -> Iterator[ScoreChunk]:
    """Run the whole forward pass over short chunks, for heads that cap or scale."""
    size = positions_per_chunk(network.config.vocab_size, max(4, network.module.dtype.itemsize))
    width, batch = group.tokens.shape[1] - 1, len(group.rows)
    step = max(1, min(size // batch, max_positions))
    cache = network.new_kv_cache() if network.windows is not None else None
    for begin in range(0, width, step):
        end = min(begin + step, width)
        rows, columns = _select_predicting_positions(group, begin, end)
        with torch.inference_mode():
            if cache is not None:
                energies = network.position_energies(_to_tensor(network, group.tokens[:, begin:end]), cache, keep=0)
            else:
                energies = network.position_energies(_to_tensor(network, group.tokens[:, :end]), keep=end - begin)
            energies = energies[rows, columns - begin]
        yield _build_chunk(group, rows, columns, energies)


def _select_predicting_positions(group: _SequenceGroup, begin: int, end: int) -> tuple[Ints, Ints]:
    """Return the (row, position) pairs in [begin, end) that have a next token, row by row."""
    rows, columns = np.nonzero(np.arange(begin, end) < group.lengths[:, None] - 1)
    return rows, columns + begin


def _build_chunk(group: _SequenceGroup, rows: Ints, columns: Ints, energies: torch.Tensor) -> ScoreChunk:
    return ScoreChunk(
        rows=group.rows[rows].tolist(),
        positions=(columns + 1).tolist(),
        targets=group.tokens[rows, columns + 1].tolist(),
        energies=energies,
    )


def _to_tensor(network: Network, tokens: Ints) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(tokens)).to(network.device)


def _group_by_length(sequences: Sequence[Tokens], max_rows: int) -> Iterator[_SequenceGroup]:
    """Yield groups of sequences of similar length: little padding, and a bounded number of positions."""
    lengths = np.array([len(tokens) for tokens in sequences], dtype=np.int64)
    order = [row for row in np.argsort(lengths, kind="stable").tolist() if lengths[row] > 1]
    while order:
        count = min(max_rows, _count_batch_rows(lengths[order]))
        rows, order = np.array(order[:count]), order[count:]
        yield _SequenceGroup(rows, _pad_right([sequences[row] for row in rows]), lengths[rows])


def _count_batch_rows(lengths: Ints) -> int:
    """Return how many of the first sequences, sorted by length, fit `MAX_BATCH_POSITIONS`; at least 1."""
    positions = np.minimum(lengths, DECODER_CHUNK) * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(positions, MAX_BATCH_POSITIONS, side="right")))


def _pad_right(rows: Sequence[Tokens]) -> Ints:
    tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for row, sequence in enumerate(rows):
        tokens[row, : len(sequence)] = sequence
    return tokens
