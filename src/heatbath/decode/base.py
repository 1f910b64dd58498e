"""Token samplers: `init(task)` and `step(rng, state, energies) -> (state, info)`, one token for every row of a batch.

Energies are handed in: a sampler evaluates no model. Samplers of sequences are built on these
(`heatbath.decode.sequences`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.energy_pipeline import PipelineResult
from heatbath.decode.rng import Random
from heatbath.energy.base import Context
from heatbath.ensemble import State, state
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Model, Session, Tokens

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
OpenSession = Callable[[Sequence[Tokens]], Session]


@dataclass(frozen=True)
class Task:
    """A sampling task: continue each of `prompts` up to a `stop` token or `max_tokens`.

    Attributes:
        first_row: number of the first row among all rows of a job.
        prefixes: tokens already generated, one list per row; a single prompt then stands for all rows.
        observe: whether the host keeps the thermodynamics of every step, so that a draw may work them out as well.
        opener: opens sessions in place of `model.open`, for a host whose rows share a batch with others.
        ends_rows: given rows (A,) of the run and the tokens (A,) that each has just got, returns which of them end
            here, (A,), besides those with a stop token; for rows that are drawn independently.
    """

    model: Model
    prompts: Sequence[Tokens]
    max_tokens: int
    stop_token_ids: tuple[int, ...] = ()
    first_row: int = 0
    prefixes: Sequence[Tokens] = ()
    observe: bool = False
    opener: OpenSession | None = None
    ends_rows: Callable[[Ints, Ints], npt.NDArray[np.bool_]] | None = None

    def open_batch(self) -> Batch:
        """A batch of the rows, at beta = 1."""
        prefixes = self.prefixes or [()] * len(self.prompts)
        prompts = list(self.prompts) if len(self.prompts) == len(prefixes) else [self.prompts[0]] * len(prefixes)
        # An empty prompt stands for the document start, also where an answer goes on after it.
        started = [prompt if len(prompt) else self.model.vocabulary.start_token_ids for prompt in prompts]
        opener = self.opener or self.model.open
        session = opener([[*prompt, *prefix] for prompt, prefix in zip(started, prefixes, strict=True)])
        lengths = np.asarray(list(map(len, started)), np.int64)
        rows = self.first_row + np.arange(len(started))
        return Batch(session, np.ones(len(started)), lengths, rows, self.stop_token_ids, observe=self.observe)


@dataclass(frozen=True)
class Batch:
    """State of a token-level run; it holds an open session, so go on from the newest batch only.

    Attributes:
        betas: inverse temperatures, (B,).
        prompt_lengths: (B,).
        rows: numbers that stay with the rows in any batch, (B,).
        stop: tokens that end a row.
        pending: tokens drawn but not yet pushed into the session, (B,): rows that end never need them.
        memory: what a schedule remembers of each row, (B, k).
        observe: as in `Task`.
    """

    session: Session
    betas: Floats
    prompt_lengths: Ints
    row_ids: Ints
    stop_token_ids: tuple[int, ...] = ()
    pending_tokens: Ints | None = None
    memory: Floats | None = None
    observe: bool = False

    def select_rows(self, indices: Sequence[int] | Ints) -> Batch:
        """The batch of the rows `indices`, in that order; the session forks. Repeats need new `rows`."""
        at = np.asarray(indices, np.int64)
        self.session.fork(at.tolist())
        return replace(
            self,
            betas=self.betas[at],
            prompt_lengths=self.prompt_lengths[at],
            row_ids=self.row_ids[at],
            pending_tokens=None if self.pending_tokens is None else self.pending_tokens[at],
            memory=None if self.memory is None else self.memory[at],
        )

    def spread(self, numbers: Ints, energies: Any) -> tuple[Batch, Any]:
        """Copies of the only row, one for each of `numbers`, which are added to its own; and their energies."""
        copies = np.zeros(len(numbers), np.int64)
        energies = energies if len(copies) == 1 else energies[copies]
        return replace(self.select_rows(copies), row_ids=self.row_ids[0] + numbers), energies

    def push_pending(self) -> Batch:
        """The batch after its pending tokens have gone into the session."""
        if self.pending_tokens is None:
            return self
        self.session.push(self.pending_tokens.tolist())
        return replace(self, pending_tokens=None)

    def advance_rows(self, stay: Ints) -> Batch:
        """Drop all rows but those to `stay` and push the tokens of these; close the session where none does."""
        if not len(stay):
            self.session.close()
            return self
        return (self if len(stay) == len(self.row_ids) else self.select_rows(stay)).push_pending()

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
        seen: thermodynamics of the model's energies with the drawn tokens, where the draw worked them out.
        plain_logprob: log-probability of the tokens in the model at T = 1, (B,), where the draw worked it out.

    They add up for 0 < beta < inf: $\log p_{drawn} - \log p_{model} = \beta \sum_f (\Delta F_f - E_f) - \log m_{kept}$.
    """

    tokens: Ints
    pipeline_result: PipelineResult
    known_logprob: Floats | None = None
    seen: State | None = None
    plain_logprob: Floats | None = None

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
        return self.pipeline_result.drawn

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


class TokenSampler(ABC):
    """Draws one token for every row of a batch. The contract suite is `heatbath.testing.check_sampler`."""

    @abstractmethod
    def init(self, task: Task) -> Batch:
        """The state before the first step. Raises `BadInput` for settings that make no sense."""

    @abstractmethod
    def step(self, rng: Random, state: Batch, energies: Any) -> tuple[Batch, Step]:
        """Draw from `energies` (B, V) of the session of `state`, whose tokens have all been pushed.

        The tokens drawn are `pending` in the state returned. `rng` has the rows of the batch.
        """

    def is_exhausted(self, state: Batch) -> bool:
        """Whether the rows have no time left: what they hold is then all there will be."""
        return False


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
