"""A batch of growing sequences on a neural model: left-padded prompts, one cache, one forward pass a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heatbath.errors import BadInput
from heatbath.models.base import Session, Tokens
from heatbath.models.cache import GrowingCache, select_rows
from heatbath.models.network import Network

CHUNK = 512
LEAST_CHUNK = 16
PREFILL_POSITIONS = 8192

Ints = npt.NDArray[np.int64]


class TransformersSession(Session):
    """Rows are padded on the left to one length; padding is masked and has no position.

    A pushed token is evaluated when energies are next asked for, so that the last one of a run costs nothing.
    `prompts` are not empty and fit `context` tokens; the model has seen to that.
    """

    def __init__(self, network: Network, prompts: Sequence[Tokens], *, context: int | None, vocab: int) -> None:
        self._network, self._context, self._vocab = network, context, vocab
        self._rows = [list(map(int, prompt)) for prompt in prompts]
        self._waiting, self._pads = _left_padded(self._rows)
        self._cache = network.cache()
        self._seen = 0
        self._energies: torch.Tensor | None = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return self._rows

    def energies(self) -> torch.Tensor:
        if self._energies is None:
            with torch.inference_mode():
                self._energies = self._evaluate()
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        column = np.asarray(tokens)
        if column.shape != (len(self._rows),) or column.dtype.kind not in "iu":
            raise BadInput(f"push takes one token id for each of {len(self._rows)} rows, not {column.tolist()!r:.60}.")
        in_vocabulary(column, self._vocab)
        fits_context(self._seen + self._waiting.shape[1] - int(self._pads.min()) + 1, self._context)
        for row, token in zip(self._rows, column.tolist(), strict=True):
            row.append(token)
        self._waiting = np.concatenate([self._waiting, column.astype(np.int64)[:, None]], axis=1)
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        rows, count = np.asarray(indices), len(self._rows)
        if rows.ndim != 1 or not rows.size or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= count:
            raise BadInput(f"fork takes row numbers from 0 to {count - 1}, at least one, not {rows.tolist()!r:.60}.")
        if np.array_equal(rows, np.arange(count)):
            return
        picked = torch.as_tensor(rows, dtype=torch.long, device=self._network.device)
        if self._seen:
            select_rows(self._cache, picked)
        if self._energies is not None:
            self._energies = self._energies.index_select(0, picked)
        self._rows = [list(self._rows[row]) for row in rows]
        self._waiting, self._pads = self._waiting[rows], self._pads[rows]
        self._trim(int(self._pads.min()))

    def _trim(self, spare: int) -> None:
        """Drop columns that are padding in every row."""
        if not spare:
            return
        if not self._seen:
            self._waiting = self._waiting[:, spare:]
        elif isinstance(self._cache, GrowingCache):
            self._cache.trim(spare)
            self._seen -= spare
        else:
            return
        self._pads = self._pads - spare

    def _evaluate(self) -> torch.Tensor:
        for piece in self._pieces():
            energies = self._forward(piece)
        self._waiting = self._waiting[:, :0]
        return energies

    def _pieces(self) -> list[Ints]:
        """Waiting columns in pieces of bounded memory; a recurrent state takes the prompt whole, then single steps."""
        width = self._waiting.shape[1]
        size = max(LEAST_CHUNK, min(CHUNK, PREFILL_POSITIONS // len(self._rows)))
        if self._network.windows is None:
            size = 1 if self._seen else width
        return [self._waiting[:, begin : begin + size] for begin in range(0, width, size)]

    def _forward(self, piece: Ints) -> torch.Tensor:
        network = self._network
        begin, end = self._seen, self._seen + piece.shape[1]
        mask = positions = None
        if self._pads.any():
            pads = torch.as_tensor(self._pads, device=network.device)[:, None]
            columns = torch.arange(end, device=network.device)
            mask, positions = columns >= pads, (columns[begin:] - pads).clamp_min_(0)
        tokens = torch.from_numpy(np.ascontiguousarray(piece)).to(network.device)
        energies = network.next_energies(tokens, self._cache, mask=mask, positions=positions)
        self._seen = end
        return energies


def in_vocabulary(tokens: npt.NDArray[Any], size: int) -> None:
    """Raise `BadInput` at a token id outside the vocabulary."""
    if tokens.size and (tokens.min() < 0 or tokens.max() >= size):
        wrong = int(tokens[(tokens < 0) | (tokens >= size)][0])
        raise BadInput(f"token id {wrong} is outside the vocabulary of {size}: give ids from 0 to {size - 1}.")


def fits_context(length: int, context: int | None) -> None:
    """Raise `BadInput` when a sequence is longer than the model can read."""
    if context is not None and length > context:
        raise BadInput(f"{length} tokens are more than the {context} the model can read: give a shorter text.")


def _left_padded(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    longest = max(map(len, rows))
    tokens = np.zeros((len(rows), longest), dtype=np.int64)
    pads = np.array([longest - len(row) for row in rows], dtype=np.int64)
    for row, prompt in enumerate(rows):
        tokens[row, pads[row] :] = prompt
    return tokens, pads
