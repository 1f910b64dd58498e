"""The session of a network: left-padded prompts, one key-value cache, one forward pass per step."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy

import numpy as np
import numpy.typing as npt
import torch

from heatbath.models.base import Session, Tokens
from heatbath.models.hf.kv_cache import GrowingCache, select_cache_rows
from heatbath.models.hf.network import Network
from heatbath.models.validation import validate_context_length, validate_fork, validate_push

MAX_CHUNK = 512
MIN_CHUNK = 16
PREFILL_POSITIONS = 8192
READ_POSITIONS = 128

Ints = npt.NDArray[np.int64]


class TransformersSession(Session):
    """A batch of rows padded on the left to one length; padding is masked and has no position.

    A pushed token is evaluated at the next call of `energies`, so that the last one of a run costs nothing. `prompts`
    must not be empty and must fit `context_length`: the model checks them.
    """

    def __init__(
        self, network: Network, prompts: Sequence[Tokens], *, context_length: int | None, vocab_size: int
    ) -> None:
        self._network, self._context_length, self._vocab_size = network, context_length, vocab_size
        self._rows = [list(map(int, prompt)) for prompt in prompts]
        self._pending_tokens, self._padding = _pad_left(self._rows)
        self._cache = network.new_kv_cache()
        self._cached_length = 0
        self._energies: torch.Tensor | None = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return self._rows

    def energies(self) -> torch.Tensor:
        if self._energies is None:
            with torch.inference_mode():
                self._energies = self._evaluate_pending()
        return self._energies

    @property
    def num_unread(self) -> int:
        """Number of pending positions beyond those that `energies` evaluates at once; a recurrent state takes all."""
        is_whole = self._energies is not None or self._network.windows is None
        return 0 if is_whole else max(0, self._pending_tokens.shape[1] - READ_POSITIONS)

    def read_chunk(self) -> None:
        """Evaluate a chunk of the pending tokens."""
        with torch.inference_mode():
            self._forward(self._pending_tokens[:, :READ_POSITIONS])
        self._pending_tokens = self._pending_tokens[:, READ_POSITIONS:]

    def push(self, tokens: Sequence[int]) -> None:
        column = validate_push(tokens, len(self._rows), self._vocab_size)
        validate_context_length(
            self._cached_length + self._pending_tokens.shape[1] - int(self._padding.min()) + 1, self._context_length
        )
        for row, token in zip(self._rows, column.tolist(), strict=True):
            row.append(token)
        self._pending_tokens = np.concatenate([self._pending_tokens, column[:, None]], axis=1)
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        rows = validate_fork(indices, len(self._rows))
        if np.array_equal(rows, np.arange(len(self._rows))):
            return
        row_indices = torch.as_tensor(rows, dtype=torch.long, device=self._network.device)
        if self._cached_length:
            select_cache_rows(self._cache, row_indices)
        if self._energies is not None:
            self._energies = self._energies.index_select(0, row_indices)
        self._rows = [list(self._rows[row]) for row in rows]
        self._pending_tokens, self._padding = self._pending_tokens[rows], self._padding[rows]
        self._trim_padding(int(self._padding.min()))

    def copy(self) -> TransformersSession:
        """Return a session on the same rows that grows by itself."""
        other = copy(self)
        other._rows = [list(row) for row in self._rows]
        with torch.inference_mode():
            other._cache = deepcopy(self._cache)
        return other

    def _trim_padding(self, spare: int) -> None:
        """Drop columns that are padding in every row."""
        if not spare:
            return
        if not self._cached_length:
            self._pending_tokens = self._pending_tokens[:, spare:]
        elif isinstance(self._cache, GrowingCache):
            self._cache.trim_positions(spare)
            self._cached_length -= spare
        else:
            return
        self._padding = self._padding - spare

    def _evaluate_pending(self) -> torch.Tensor:
        for chunk in self._split_pending():
            energies = self._forward(chunk)
        self._pending_tokens = self._pending_tokens[:, :0]
        return energies

    def _split_pending(self) -> list[Ints]:
        """Split pending columns into chunks of bounded memory; a recurrent state takes the whole prompt."""
        width = self._pending_tokens.shape[1]
        size = max(MIN_CHUNK, min(MAX_CHUNK, PREFILL_POSITIONS // len(self._rows)))
        if self._network.windows is None:
            size = 1 if self._cached_length else width
        return [self._pending_tokens[:, begin : begin + size] for begin in range(0, width, size)]

    def _forward(self, chunk: Ints) -> torch.Tensor:
        network = self._network
        begin, end = self._cached_length, self._cached_length + chunk.shape[1]
        mask = positions = None
        if self._padding.any():
            pads = torch.as_tensor(self._padding, device=network.device)[:, None]
            columns = torch.arange(end, device=network.device)
            mask, positions = columns >= pads, (columns[begin:] - pads).clamp_min_(0)
        tokens = torch.from_numpy(np.ascontiguousarray(chunk)).to(network.device)
        energies = network.next_energies(tokens, self._cache, mask=mask, positions=positions)
        self._cached_length = end
        return energies


def _pad_left(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    longest = max(map(len, rows))
    tokens = np.zeros((len(rows), longest), dtype=np.int64)
    pads = np.array([longest - len(row) for row in rows], dtype=np.int64)
    for row, prompt in enumerate(rows):
        tokens[row, pads[row] :] = prompt
    return tokens, pads
