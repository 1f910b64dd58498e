"""What a sampler is: `init` and `step(rng, state) -> (state, info)`; a run is a generator, its loop the caller's.

A sampler of tokens has a `Batch` as its state and gives a `Step`: every row is drawn from, one token each. A sampler
of sequences is built on one; its state is an `Answers` and it gives a `Move` (`heatbath.decode.sequences`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from heatbath.decode.energy_pipeline import PipelineResult
from heatbath.decode.rng import Random
from heatbath.energy.base import Context
from heatbath.ensemble import state
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Model, Session, Tokens

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
S = TypeVar("S")
I = TypeVar("I")


@dataclass(frozen=True)
class Task:
    """What is asked of a sampler: an answer to each of `prompts`, ended by a `stop` token or `max_tokens` long.

    `begun` are tokens that the answers already have, one list a row; a single prompt then stands for all rows.
    `first_row` numbers the first of the rows among all of a job.
    """

    model: Model
    prompts: Sequence[Tokens]
    max_tokens: int
    stop_token_ids: tuple[int, ...] = ()
    first_row: int = 0
    prefixes: Sequence[Tokens] = ()

    def open_batch(self) -> Batch:
        """A batch of the rows, at beta = 1."""
        begun = self.prefixes or [()] * len(self.prompts)
        prompts = list(self.prompts) if len(self.prompts) == len(begun) else [self.prompts[0]] * len(begun)
        # An empty prompt stands for the document start, also where an answer goes on after it.
        started = [prompt if len(prompt) else self.model.vocabulary.start_token_ids for prompt in prompts]
        session = self.model.open([[*prompt, *answer] for prompt, answer in zip(started, begun, strict=True)])
        rows = self.first_row + np.arange(len(started))
        return Batch(
            session, np.ones(len(started)), np.asarray(list(map(len, started)), np.int64), rows, self.stop_token_ids
        )


@dataclass(frozen=True)
class Batch:
    """Where a run stands. `pending` tokens (B,) are drawn but not yet in the session: rows that end never need them.

    It holds an open session, so go on from the newest batch only. `rows` (B,) number the rows for good; `memory`
    (B, k) is what a schedule remembers of each.
    """

    session: Session
    betas: Floats
    prompt_lengths: Ints
    row_ids: Ints
    stop_token_ids: tuple[int, ...] = ()
    pending_tokens: Ints | None = None
    memory: Floats | None = None

    def select_rows(self, indices: Sequence[int] | Ints) -> Batch:
        """The batch of the rows `indices`, in that order; the session forks. Repeats need new `rows`."""
        at = np.asarray(indices, np.int64)
        self.session.fork(at.tolist())
        pending = None if self.pending_tokens is None else self.pending_tokens[at]
        memory = None if self.memory is None else self.memory[at]
        return Batch(
            self.session,
            self.betas[at],
            self.prompt_lengths[at],
            self.row_ids[at],
            self.stop_token_ids,
            pending,
            memory,
        )

    def push_pending(self) -> Batch:
        """The batch after its pending tokens have gone into the session."""
        if self.pending_tokens is None:
            return self
        self.session.push(self.pending_tokens.tolist())
        return replace(self, pending_tokens=None)

    def build_context(self, energies: Any = None) -> Context:
        """What energies may look at."""
        size = 0 if energies is None else int(energies.shape[-1])
        lengths = self.prompt_lengths.tolist()
        return Context(self.session.tokens, lengths, size, self.stop_token_ids, (), self.row_ids.tolist(), energies)


@dataclass(frozen=True)
class Step:
    r"""One step of a batch. What it holds of the session's energies is valid until the next step.

    Attributes:
        tokens: drawn tokens, (B,).
        steered: raw energies of the model, what fields and windows made of them, and what that cost.
        known_logprob: `logprob` where it is known already.

    They add up for 0 < beta < inf: $\log p_{drawn} - \log p_{model} = \beta \sum_f (\Delta F_f - E_f) - \log m_{kept}$.
    """

    tokens: Ints
    pipeline_result: PipelineResult
    known_logprob: Floats | None = None

    @property
    def energies(self) -> Any:
        """Raw energies of the model, (B, V), nats."""
        return self.pipeline_result.energies

    @property
    def betas(self) -> Floats:
        """Inverse temperatures drawn at, (B,)."""
        return self.pipeline_result.betas

    @property
    def final_energies(self) -> Any:
        """Energies really drawn from, (B, V): fields added, what the windows cut at +inf. `energies` if neither."""
        return self.pipeline_result.final_energies

    @property
    def work(self) -> Mapping[str, Floats]:
        r"""Free-energy change $\Delta F = -\Delta \log Z / \beta$ of each field, added in order, (B,), nats.

        At T = 0 it is the shift of the ground state; at beta = 0 its limit, infinite where states are forbidden.
        """
        return self.pipeline_result.work

    @property
    def kept_mass(self) -> Floats:
        """Probability the windows left, at `betas`, of the ensemble that the fields made, (B,)."""
        return self.pipeline_result.kept_mass

    @cached_property
    def field_energy(self) -> Mapping[str, Floats]:
        """Energy of the drawn token in each field, (B,), nats."""
        return self.pipeline_result.field_energies(self.tokens)

    @cached_property
    def logprob(self) -> Floats:
        """Log-probability of the drawn tokens in the distribution really drawn from, (B,)."""
        if self.known_logprob is not None:
            return self.known_logprob
        return token_logprob(self.final_energies, self.betas, self.tokens)

    @cached_property
    def model_logprob(self) -> Floats:
        """Log-probability of the drawn tokens in the model's own distribution at the same temperature, (B,)."""
        return self.logprob if self.final_energies is self.energies else self.logprob_at(self.betas)

    def logprob_at(self, betas: Floats) -> Floats:
        """Log-probability of the drawn tokens in the model's own distribution at `betas` (B,), (B,)."""
        return token_logprob(self.energies, betas, self.tokens)


class Sampler(ABC, Generic[S, I]):
    """Draws answers to a task, step by step. The contract suite of those of tokens is `testing.check_sampler`."""

    @abstractmethod
    def init(self, task: Task) -> S:
        """The state before the first step. Raises `BadInput` for settings that make no sense."""

    @abstractmethod
    def step(self, rng: Random, state: S) -> tuple[S, I]:
        """One step. `rng` has the rows of the task."""


TokenSampler = Sampler[Batch, Step]
"""Draws one token for every row of a batch."""


def run_sampler(sampler: Sampler[S, I], rng: Random, task: Task) -> Iterator[tuple[S, I]]:
    """Steps without end; stopping, progress and storage are the caller's."""
    state = sampler.init(task)
    while True:
        state, info = sampler.step(rng, state)
        yield state, info


def betas_from_temperatures(temperatures: float | Sequence[float] | Floats, rows: int) -> Floats:
    """Inverse temperatures (B,). Raises `BadInput` for temperatures below 0, NaN, or of another shape than the rows."""
    values = np.asarray(temperatures, np.float64)
    if values.shape not in ((), (rows,)):
        raise BadInput(f"{rows} rows take one temperature or {rows} of them, not shape {values.shape}.")
    wrong = values[~(values >= 0)]
    if wrong.size:
        raise BadInput(f"the temperature is {wrong[0]}: give 0 (greedy) or a positive number.")
    with np.errstate(divide="ignore"):
        return np.broadcast_to(1 / values, (rows,)).copy()


def token_logprob(energies: Any, betas: Floats, tokens: Ints) -> Floats:
    """Log-probability of `tokens` (B,) in the ensembles of `energies` (B, V) at `betas` (B,)."""
    values: Any = state(energies, betas, index=tokens).logprob
    return to_numpy(values).astype(np.float64)
