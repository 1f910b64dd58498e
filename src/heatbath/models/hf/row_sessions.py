"""Sessions of networks whose cache does not suit a padded batch: rows one by one, or no cache.

Mamba and RWKV take padding into their state; RWKV mixes up the rows of a batch as well. RecurrentGemma keeps its state
in the module, where sessions would overwrite each other's: its energies come from the whole prefix at every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from heatbath.models.base import Session, Tokens
from heatbath.models.hf.network import Network
from heatbath.models.hf.session import PREFILL_POSITIONS, TransformersSession
from heatbath.models.validation import validate_context_length, validate_fork, validate_push


def open_session(
    network: Network, prompts: Sequence[Tokens], *, context_length: int | None, vocab_size: int
) -> Session:
    """Open the session that the cache of the network allows, on prompts that the model has checked."""
    if network.cache_use == "none":
        return RecomputingSession(network, prompts, context_length=context_length, vocab_size=vocab_size)
    is_even = network.cache_use == "length" and len({len(prompt) for prompt in prompts}) == 1
    if network.cache_use == "batch" or is_even:
        return TransformersSession(network, prompts, context_length=context_length, vocab_size=vocab_size)
    return RowSessions(network, prompts, context_length=context_length, vocab_size=vocab_size)


class RowSessions(Session):
    """A session of one row for each row, where these cannot share a cache."""

    def __init__(
        self, network: Network, prompts: Sequence[Tokens], *, context_length: int | None, vocab_size: int
    ) -> None:
        self._context_length, self._vocab_size = context_length, vocab_size
        self._sessions = [
            TransformersSession(network, [prompt], context_length=context_length, vocab_size=vocab_size)
            for prompt in prompts
        ]
        self._energies: torch.Tensor | None = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return [session.tokens[0] for session in self._sessions]

    def energies(self) -> torch.Tensor:
        if self._energies is None:
            self._energies = torch.cat([session.energies() for session in self._sessions])
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        column = validate_push(tokens, len(self._sessions), self._vocab_size)
        validate_context_length(max(map(len, self.tokens)) + 1, self._context_length)
        for session, token in zip(self._sessions, column.tolist(), strict=True):
            session.push([token])
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        rows = validate_fork(indices, len(self._sessions)).tolist()
        first_use = {row: place for place, row in reversed(list(enumerate(rows)))}
        self._sessions = [
            self._sessions[row] if first_use[row] == place else self._sessions[row].copy()
            for place, row in enumerate(rows)
        ]
        if self._energies is not None:
            self._energies = self._energies[rows]


class RecomputingSession(Session):
    """A session without a cache: each step evaluates all tokens of every row, rows of one length together."""

    def __init__(
        self, network: Network, prompts: Sequence[Tokens], *, context_length: int | None, vocab_size: int
    ) -> None:
        self._network, self._context_length, self._vocab_size = network, context_length, vocab_size
        self._rows = [list(map(int, prompt)) for prompt in prompts]
        self._energies: torch.Tensor | None = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return self._rows

    def energies(self) -> torch.Tensor:
        if self._energies is None:
            parts: dict[int, torch.Tensor] = {}
            for rows in self._split_rows():
                tokens = torch.tensor([self._rows[row] for row in rows], device=self._network.device)
                with torch.inference_mode():
                    parts |= zip(
                        rows, self._network.next_energies(tokens, None, mask=None, positions=None), strict=True
                    )
            self._energies = torch.stack([parts[row] for row in range(len(self._rows))])
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        column = validate_push(tokens, len(self._rows), self._vocab_size)
        validate_context_length(max(map(len, self._rows)) + 1, self._context_length)
        for row, token in zip(self._rows, column.tolist(), strict=True):
            row.append(token)
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        rows = validate_fork(indices, len(self._rows)).tolist()
        self._rows = [list(self._rows[row]) for row in rows]
        if self._energies is not None:
            self._energies = self._energies[rows]

    def _split_rows(self) -> list[list[int]]:
        """Return batches of rows of one length, with a bounded number of positions each."""
        by_length: dict[int, list[int]] = {}
        for row, tokens in enumerate(self._rows):
            by_length.setdefault(len(tokens), []).append(row)
        batches = []
        for length, rows in by_length.items():
            count = max(1, PREFILL_POSITIONS // length)
            batches += [rows[begin : begin + count] for begin in range(0, len(rows), count)]
        return batches
