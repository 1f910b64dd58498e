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
    """A sampling task: continue each of `prompts` up to a stop token or `max_tokens`.

    Attributes:
        first_row: number of the first row among all rows of a job.
        prefixes: tokens already generated, one list per row; a single prompt is then shared by all rows.
        observe: whether the caller records the thermodynamics of every step, so that a draw may compute them as well.
        opener: opens sessions in place of `model.open`, for a caller whose rows share a batch with others.
        ends_rows: given rows (A,) of the run and the tokens (A,) that each has just received, returns which of them end
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
        """Open a session on the rows and return it as a batch at beta = 1."""
        prefixes = self.prefixes or [()] * len(self.prompts)
        prompts = list(self.prompts) if len(self.prompts) == len(prefixes) else [self.prompts[0]] * len(prefixes)
        # An empty prompt means the document start, also where a prefix follows it.
        prompts = [prompt if len(prompt) else self.model.vocabulary.start_token_ids for prompt in prompts]
        opener = self.opener or self.model.open
        session = opener([[*prompt, *prefix] for prompt, prefix in zip(prompts, prefixes, strict=True)])
        lengths = np.asarray(list(map(len, prompts)), np.int64)
        row_ids = self.first_row + np.arange(len(prompts))
        return Batch(
            session,
            np.ones(len(prompts)),
            lengths,
            row_ids,
            self.stop_token_ids,
            observe=self.observe,
            max_tokens=self.max_tokens,
        )


@dataclass(frozen=True)
class Batch:
    """State of a token-level run. It has an open session, so only the newest batch may be used.

    Attributes:
        betas: inverse temperatures, (B,).
        prompt_lengths: (B,).
        row_ids: numbers that identify the rows in any batch, (B,).
        stop_token_ids: tokens that end a row.
        pending_tokens: tokens drawn but not yet pushed into the session, (B,): those of ended rows are never pushed.
        memory: the memory of a schedule for each row, (B, k).
        observe: as in `Task`.
        max_tokens: greatest length of a sequence; 0 if a batch was built without a task.
    """

    session: Session
    betas: Floats
    prompt_lengths: Ints
    row_ids: Ints
    stop_token_ids: tuple[int, ...] = ()
    pending_tokens: Ints | None = None
    memory: Floats | None = None
    observe: bool = False
    max_tokens: int = 0

    def select_rows(self, indices: Sequence[int] | Ints) -> Batch:
        """Return the batch of the rows `indices`, in that order; the session forks. Repeats need new `row_ids`."""
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

    def copy_row(self, numbers: Ints, energies: Any) -> tuple[Batch, Any]:
        """Return copies of the only row with `numbers` added to its row id, and their energies."""
        copies = np.zeros(len(numbers), np.int64)
        energies = energies if len(copies) == 1 else energies[copies]
        return replace(self.select_rows(copies), row_ids=self.row_ids[0] + numbers), energies

    def push_pending(self) -> Batch:
        """Push the pending tokens into the session and return the batch without them."""
        if self.pending_tokens is None:
            return self
        self.session.push(self.pending_tokens.tolist())
        return replace(self, pending_tokens=None)

    def advance_rows(self, indices: Ints) -> Batch:
        """Keep the rows `indices` and push their pending tokens; close the session where there are none."""
        if not len(indices):
            self.session.close()
            return self
        return (self if len(indices) == len(self.row_ids) else self.select_rows(indices)).push_pending()

    def build_context(self, energies: Any = None) -> Context:
        """Return the context that fields and schedules read."""
        size = 0 if energies is None else int(energies.shape[-1])
        lengths = self.prompt_lengths.tolist()
        return Context(self.session.tokens, lengths, size, self.stop_token_ids, (), self.row_ids.tolist(), energies)


@dataclass(frozen=True)
class Step:
    r"""One step of a batch. Arrays of energies in it are valid until the next step.

    Attributes:
        tokens: drawn tokens, (B,).
        pipeline_result: energies of the model and after each field and window.
        known_logprob: `logprob` where it is known already.
        model_state: thermodynamics of the model's energies with the drawn tokens, where the draw computed them.
        plain_logprob: log-probability of the tokens in the model at T = 1, (B,), where the draw computed it.
        log_accepted_mass: for tokens drawn by rejection, log of an unbiased estimate of the probability that the
            distribution of the draw gives to tokens that are not rejected, (B,); None if nothing was rejected.
        potential_energy: total energy of the potentials after the drawn tokens, (B,), where the draw evaluated them.

    For 0 < beta < inf, with p the distribution of the draw,
    $\log p - \log p_{model} = \beta \sum_f (\Delta F_f - E_f) - \log m_{kept}$.
    """

    tokens: Ints
    pipeline_result: PipelineResult
    known_logprob: Floats | None = None
    model_state: State | None = None
    plain_logprob: Floats | None = None
    log_accepted_mass: Floats | None = None
    potential_energy: Floats | None = None

    @property
    def energies(self) -> Any:
        """Raw energies of the model, (B, V), nats."""
        return self.pipeline_result.energies

    @property
    def betas(self) -> Floats:
        """Inverse temperatures of the draw, (B,)."""
        return self.pipeline_result.betas

    @property
    def final_energies(self) -> Any:
        """Energies of the draw, (B, V): with fields added and +inf outside windows; `energies` if there are neither."""
        return self.pipeline_result.final_energies

    @property
    def work(self) -> Mapping[str, Floats]:
        r"""Free-energy change $\Delta F = -\Delta \log Z / \beta$ of each field, added in order, (B,), nats.

        At T = 0 it is the shift of the ground state; at beta = 0 its limit, infinite where states are forbidden.
        """
        return self.pipeline_result.work

    @property
    def kept_mass(self) -> Floats:
        """Probability that the windows kept, at `betas`, of the distribution with the fields, (B,)."""
        return self.pipeline_result.kept_mass

    @cached_property
    def field_energy(self) -> Mapping[str, Floats]:
        """Energy of the drawn token in each field, (B,), nats."""
        return self.pipeline_result.field_energies(self.tokens)

    @cached_property
    def logprob(self) -> Floats:
        """Log-probability of the drawn tokens in the distribution of the draw, (B,)."""
        if self.known_logprob is not None:
            return self.known_logprob
        return token_logprob(self.final_energies, self.betas, self.tokens)

    @cached_property
    def model_logprob(self) -> Floats:
        """Log-probability of the drawn tokens in the model's own distribution at the same temperature, (B,)."""
        return self.logprob if self.final_energies is self.energies else self.logprob_at(self.betas)

    def logprob_at(self, betas: Floats) -> Floats:
        """Return the log-probability of the drawn tokens in the model's own distribution at `betas` (B,), (B,)."""
        return token_logprob(self.energies, betas, self.tokens)


class TokenSampler(ABC):
    """A sampler of one token for every row of a batch. The contract suite is `heatbath.testing.check_sampler`.

    `estimates_mass` is True if its steps have a `log_accepted_mass`, so that tokens are drawn with random weights.
    """

    estimates_mass: bool = False

    @abstractmethod
    def init(self, task: Task) -> Batch:
        """Return the state before the first step. Raises `BadInput` for invalid settings."""

    @abstractmethod
    def step(self, rng: Random, state: Batch, energies: Any) -> tuple[Batch, Step]:
        """Draw from `energies` (B, V) of the session of `state`, whose tokens have all been pushed.

        The drawn tokens are `pending_tokens` in the returned state. `rng` has the rows of the batch.
        """

    def is_exhausted(self, state: Batch) -> bool:
        """Test whether the time of the rows is used up, so that they must end now."""
        return False


def betas_from_temperatures(temperatures: float | Sequence[float] | Floats, rows: int) -> Floats:
    """Return inverse temperatures (B,). Raises `BadInput` for temperatures below 0, NaN, or of another shape."""
    values = np.asarray(temperatures, np.float64)
    if values.shape not in ((), (rows,)):
        raise BadInput(
            f"expected one temperature or one for each of {rows} rows, got shape {values.shape}.", param="temperature"
        )
    invalid = values[~(values >= 0)]
    if invalid.size:
        raise BadInput(f"`temperature` must be 0 (greedy) or a positive number, got {invalid[0]}.", param="temperature")
    with np.errstate(divide="ignore", over="ignore"):
        # Adding 0 makes a positive zero of a negative one, whose inverse would be -inf.
        return np.broadcast_to(1 / (values + 0.0), (rows,)).copy()


def token_logprob(energies: Any, betas: Floats, tokens: Ints) -> Floats:
    """Return the log-probability of `tokens` (B,) in the distributions of `energies` (B, V) at `betas` (B,)."""
    values: Any = state(energies, betas, index=tokens).logprob
    return to_numpy(values).astype(np.float64)
