"""What a sampler is: `init` and `step(rng, batch) -> (batch, step)`; a run is a generator, its loop the caller's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.seeds import RowRandom
from heatbath.ensemble import state
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Session

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Where a run stands. `pending` tokens (B,) are drawn but not yet in the session: rows that end never need them.

    It holds an open session, so go on from the newest batch only.
    """

    session: Session
    betas: Floats
    prompt_lengths: Ints
    pending: Ints | None = None

    def keep(self, indices: Sequence[int]) -> Batch:
        """The batch of the rows `indices`, in that order; the session forks. Keep the same rows of the `RowRandom`."""
        rows = np.asarray(indices, np.int64)
        self.session.fork(rows.tolist())
        pending = None if self.pending is None else self.pending[rows]
        return Batch(self.session, self.betas[rows], self.prompt_lengths[rows], pending)

    def advanced(self) -> Batch:
        """The batch after its pending tokens have gone into the session."""
        if self.pending is None:
            return self
        self.session.push(self.pending.tolist())
        return replace(self, pending=None)


@dataclass(frozen=True)
class Step:
    r"""One step of a batch. What it holds of the session's energies is valid until the next step.

    Attributes:
        tokens: drawn tokens, (B,).
        energies: raw energies of the model, (B, V), nats.
        betas: inverse temperatures drawn at, (B,).
        drawn: energies really drawn from, (B, V): fields added, what the windows cut at +inf. `energies` if neither.
        kept_mass: probability the windows left, at `betas`, of the ensemble that the fields made, (B,).
        work: free-energy change $\Delta F = -\Delta \log Z / \beta$ of each field, added in order, (B,), nats.
            At T = 0 it is the shift of the ground state; at beta = 0 its limit, infinite where states are forbidden.
        field_energy: energy of the drawn token in each field, (B,), nats.

    They add up for 0 < beta < inf: $\log p_{drawn} - \log p_{model} = \beta \sum_f (\Delta F_f - E_f) - \log m_{kept}$.
    """

    tokens: Ints
    energies: Any
    betas: Floats
    drawn: Any
    kept_mass: Floats
    work: Mapping[str, Floats] = field(default_factory=dict)
    field_energy: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def logprob(self) -> Floats:
        """Log-probability of the drawn tokens in the distribution really drawn from, (B,)."""
        return _logprob(self.drawn, self.betas, self.tokens)

    @cached_property
    def model_logprob(self) -> Floats:
        """Log-probability of the drawn tokens in the model's own distribution at the same temperature, (B,)."""
        return self.logprob if self.drawn is self.energies else _logprob(self.energies, self.betas, self.tokens)


class Sampler(ABC):
    """Draws the next token of every row of a batch. Its contract suite is `heatbath.testing.check_sampler`."""

    @abstractmethod
    def init(self, session: Session) -> Batch:
        """A batch on an open session, whose tokens so far count as prompt."""

    @abstractmethod
    def step(self, rng: RowRandom, batch: Batch) -> tuple[Batch, Step]:
        """Draw one token per row. `rng` has the rows of `batch`."""


def run(sampler: Sampler, rng: RowRandom, session: Session) -> Iterator[tuple[Batch, Step]]:
    """Steps without end; stopping, progress and storage are the caller's. Rows stay as they are: see `Batch.keep`."""
    batch = sampler.init(session)
    while True:
        batch, step = sampler.step(rng, batch)
        yield batch, step


def started(session: Session, temperatures: float | Sequence[float] | Floats) -> Batch:
    """The first batch of a run. Raises `BadInput` for temperatures below 0, NaN, or of another shape than the rows."""
    lengths = np.asarray([len(tokens) for tokens in session.tokens], np.int64)
    values = np.asarray(temperatures, np.float64)
    if values.shape not in ((), lengths.shape):
        raise BadInput(f"{len(lengths)} rows take one temperature or {len(lengths)} of them, not shape {values.shape}.")
    wrong = values[~(values >= 0)]
    if wrong.size:
        raise BadInput(f"the temperature is {wrong[0]}: give 0 (greedy) or a positive number.")
    with np.errstate(divide="ignore"):
        return Batch(session, np.broadcast_to(1 / values, lengths.shape).copy(), lengths)


def _logprob(energies: Any, betas: Floats, tokens: Ints) -> Floats:
    values: Any = state(energies, betas, index=tokens).logprob
    return to_numpy(values).astype(np.float64)
