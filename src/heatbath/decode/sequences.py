"""Samplers of sequences: the protocol, the slots in which sequences grow, the steps that change them, the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Batch, Floats, Ints, Step, Task, TokenSampler
from heatbath.decode.rng import Random
from heatbath.errors import BadInput
from heatbath.estimate.estimate import Estimate
from heatbath.models.base import Session

Bools = npt.NDArray[np.bool_]
INTERRUPTED, STOP, LENGTH = "interrupted", "stop", "length"


@dataclass(frozen=True)
class SequenceStep:
    """What one step did to the slots.

    First slot i becomes the first `lengths[i]` tokens of what slot `sources[i]` held (None: all stay as they are);
    then each of `slots` (A,) grows by one of the tokens of `step` (A,). One without a `step` only copies.
    """

    slots: Ints
    step: Step | None
    sources: Ints | None = None
    lengths: Ints | None = None

    @classmethod
    def copies(cls, sources: Ints | None = None, lengths: Ints | None = None) -> SequenceStep:
        """A step that draws nothing."""
        return cls(np.empty(0, np.int64), None, sources, lengths)


@dataclass(frozen=True)
class WeightedSamples:
    """Sequences and their weights; n of them.

    Attributes:
        answers: tokens of each, with the stop token that ended it.
        slots: where each lies, (n,).
        finish: "stop", "length" or "interrupted".
        log_weight: (n,), nats; the mean of their exponentials estimates Z of the sampler's target. Chains and
            independent draws weigh one each, a sequence that the target forbids nothing.
        logprob: log-probability of each in the model at `logprob_temperature`, or at the temperature of the
            sampler's target if that is None, (n,), nats; None if not kept.
        value: index of the sequence to give: a draw by weight, the best or the most voted.
        log_z: log of the target's partition function, None where a sampler has none.
        ess: effective number of independent sequences.
        tokens_spent: tokens drawn in all.
        diagnostics: further figures, by name.
    """

    answers: list[list[int]]
    slots: Ints
    finish: tuple[str, ...]
    log_weight: Floats
    logprob: Floats | None
    value: int
    log_z: Estimate | None
    ess: float
    tokens_spent: int
    logprob_temperature: float | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class SamplerState(Protocol):
    """The state of a sampler of sequences."""

    @property
    def slots(self) -> int:
        """How many sequences are held at once."""

    @property
    def streams(self) -> int:
        """How many rows of random numbers it takes."""

    @property
    def done(self) -> bool:
        """Whether there is nothing more to do."""

    def samples(self) -> WeightedSamples:
        """The sequences so far."""


S = TypeVar("S", bound=SamplerState)


class SequenceSampler(ABC, Generic[S]):
    """Draws sequences step by step. The contract suite is `heatbath.testing.check_sequence_sampler`.

    It evaluates no model: a host works out the energies of the session that `pending` names and hands them to `step`.
    """

    @abstractmethod
    def init(self, task: Task) -> S:
        """The state before the first step. Raises `BadInput` for settings that make no sense."""

    @abstractmethod
    def pending(self, state: S) -> Session | None:
        """The session whose energies the next step needs; None when it needs none."""

    @abstractmethod
    def step(self, rng: Random, state: S, energies: Any) -> tuple[S, SequenceStep]:
        """One step, from the energies (B, V) of the pending session. `rng` has the streams of the state."""

    def max_rows(self, prompts: int) -> int:
        """Rows of a session that a run on so many prompts may hold at once; hosts with limited rows ask for it."""
        return prompts


Sampler = TokenSampler | SequenceSampler[Any]


def evaluate(session: Session | None) -> Any:
    """The energies of a session that a step waits for; None for none."""
    return None if session is None else session.energies()


@overload
def evaluate_step(sampler: TokenSampler, rng: Random, state: Batch) -> tuple[Batch, Step]: ...


@overload
def evaluate_step(sampler: SequenceSampler[S], rng: Random, state: S) -> tuple[S, SequenceStep]: ...


def evaluate_step(sampler: Any, rng: Random, state: Any) -> tuple[Any, Any]:
    """One step of a sampler, the energies it needs evaluated before."""
    if isinstance(sampler, TokenSampler):
        state = state.push_pending()
        return sampler.step(rng, state, evaluate(state.session))
    return sampler.step(rng, state, evaluate(sampler.pending(state)))  # type: ignore[no-any-return]


def run(sampler: Any, rng: Random, task: Task) -> Iterator[tuple[Any, Any]]:
    """Steps of a sampler without end; stopping, progress and storage are the caller's."""
    state = sampler.init(task)
    while True:
        state, info = evaluate_step(sampler, rng, state)
        yield state, info


@dataclass(frozen=True)
class TokenBuffer:
    """The sequences in N slots: `tokens` (N, L) of which `lengths` (N,) are used; `stopped` by a stop token."""

    tokens: Ints
    lengths: Ints
    stopped: Bools

    @classmethod
    def empty(cls, slots: int, length: int) -> TokenBuffer:
        """Slots without a token."""
        return cls(np.zeros((slots, length), np.int64), np.zeros(slots, np.int64), np.zeros(slots, bool))

    @property
    def ended(self) -> Bools:
        """Which slots hold a finished sequence, (N,)."""
        return np.asarray(self.stopped | (self.lengths == self.tokens.shape[1]))

    def grown(self, slots: Ints, tokens: Ints, stop: Sequence[int]) -> TokenBuffer:
        """With one more token in each of `slots` (A,)."""
        buffer, lengths, stopped = self.tokens.copy(), self.lengths.copy(), self.stopped.copy()
        buffer[slots, lengths[slots]] = tokens
        lengths[slots] += 1
        stopped[slots] = np.isin(tokens, np.asarray(stop, np.int64))
        return TokenBuffer(buffer, lengths, stopped)

    def with_stopped(self, slots: Ints) -> TokenBuffer:
        """The same with the sequences in `slots` ended where they are."""
        stopped = self.stopped.copy()
        stopped[slots] = True
        return replace(self, stopped=stopped)

    def taken(self, sources: Ints, lengths: Ints | None = None) -> TokenBuffer:
        """Slot i holding the first `lengths[i]` tokens of what `sources[i]` held, all of them if None."""
        full = self.lengths[sources]
        kept = full if lengths is None else np.minimum(lengths, full)
        return TokenBuffer(self.tokens[sources], kept, self.stopped[sources] & (kept == full))

    def answers(self, slots: Ints | None = None) -> list[list[int]]:
        """The tokens in `slots`, all of them if None."""
        chosen = range(len(self.lengths)) if slots is None else slots.tolist()
        return [self.tokens[slot, : self.lengths[slot]].tolist() for slot in chosen]

    def finish(self, slots: Ints | None = None) -> tuple[str, ...]:
        """How the sequences in `slots` ended."""
        chosen = np.arange(len(self.lengths)) if slots is None else slots
        ended = self.ended
        return tuple(STOP if self.stopped[slot] else LENGTH if ended[slot] else INTERRUPTED for slot in chosen)


def require_single_prompt(task: Task, sampler: str) -> Task:
    """The task itself. Raises `BadInput` unless it has one prompt."""
    if len(task.prompts) != 1:
        raise BadInput(
            f"the {sampler} sampler answers one prompt at a time, not {len(task.prompts)}: call it for each."
        )
    return task


def repeat_prompt(task: Task, count: int) -> Task:
    """The task with its prompt `count` times."""
    return replace(task, prompts=list(task.prompts) * count)


def validate_burn(burn: float) -> None:
    """Raise `BadInput` unless `burn` is a share of sweeps that leaves some."""
    if not 0 <= burn < 1:
        raise BadInput(f"burn is {burn}: give the share of sweeps to forget, from 0 up to, but not, 1.")


def validate_at_least(value: int, minimum: int, name: str) -> int:
    """The value itself. Raises `BadInput` below `least`."""
    if value < minimum:
        raise BadInput(f"{name} is {value}: give at least {minimum}.")
    return value
