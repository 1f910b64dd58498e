"""Sequence samplers: the abstract class, its state, the buffer of sequences, the steps that change it, the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Batch, Floats, Ints, Step, Task, TokenSampler
from heatbath.decode.rng import Random
from heatbath.errors import BadInput, format_value
from heatbath.estimate.estimate import Estimate
from heatbath.models.base import Session
from heatbath.short_repr import short_repr

Bools = npt.NDArray[np.bool_]
INTERRUPTED, STOP, LENGTH = "interrupted", "stop", "length"


@dataclass(frozen=True)
class SequenceStep:
    """The changes that one step made to the slots.

    First slot i becomes a copy of the first `lengths[i]` tokens of slot `sources[i]` (None: no slot changes); then one
    of the tokens of `step` (A,) is appended to each of `slots` (A,). A step of None only copies.
    """

    slots: Ints
    step: Step | None
    sources: Ints | None = None
    lengths: Ints | None = None

    @classmethod
    def copies(cls, sources: Ints | None = None, lengths: Ints | None = None) -> SequenceStep:
        """Return a step that draws no tokens."""
        return cls(np.empty(0, np.int64), None, sources, lengths)


@dataclass(frozen=True, repr=False)
class WeightedSamples:
    """Generated sequences with their weights.

    Attributes:
        sequences: tokens of each of n sequences, with the stop token that ended it.
        slots: the slot of each, (n,).
        finish_reasons: "stop", "length" or "interrupted" for each.
        log_weight: log-weights (n,), nats; the mean of their exponentials estimates Z of the sampler's target. Chains
            and independent draws have weight 1, a sequence that the target forbids has weight 0.
        logprob: log-probability of each in the model at `logprob_temperature`, or at the temperature of the
            sampler's target if that is None, (n,), nats; None if not kept.
        selected_index: index of the sequence to return: a draw by weight, the best or the one with most votes.
        log_z: log of the target's partition function, None where a sampler has no estimate.
        ess: effective number of independent sequences.
        tokens_spent: total number of drawn tokens.
        diagnostics: further figures, by name.
        unreliable_reason: why means over the sequences and `log_z` are not to be relied on, as a part of a sentence;
            empty where the diagnostics do not say so.
    """

    sequences: list[list[int]]
    slots: Ints
    finish_reasons: tuple[str, ...]
    log_weight: Floats
    logprob: Floats | None
    selected_index: int
    log_z: Estimate | None
    ess: float
    tokens_spent: int
    logprob_temperature: float | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    unreliable_reason: str = ""

    __repr__ = short_repr


@dataclass(frozen=True)
class TokenBuffer:
    """The sequences in N slots.

    Attributes:
        tokens: (N, L), of which the first `lengths` (N,) of each row are used.
        lengths: (N,).
        stopped_mask: sequences that a stop token ended, (N,).
    """

    tokens: Ints
    lengths: Ints
    stopped_mask: Bools

    @classmethod
    def empty(cls, slots: int, length: int) -> TokenBuffer:
        """Return empty slots."""
        return cls(np.zeros((slots, length), np.int64), np.zeros(slots, np.int64), np.zeros(slots, bool))

    @property
    def finished_mask(self) -> Bools:
        """Slots whose sequence has a stop token or the greatest length, (N,)."""
        return np.asarray(self.stopped_mask | (self.lengths == self.tokens.shape[1]))

    def append_tokens(self, slots: Ints, tokens: Ints, stop_token_ids: Sequence[int]) -> TokenBuffer:
        """Return a buffer with one more token in each of `slots` (A,)."""
        buffer, lengths, stopped = self.tokens.copy(), self.lengths.copy(), self.stopped_mask.copy()
        buffer[slots, lengths[slots]] = tokens
        lengths[slots] += 1
        stopped[slots] = np.isin(tokens, np.asarray(stop_token_ids, np.int64))
        return TokenBuffer(buffer, lengths, stopped)

    def with_stopped(self, slots: Ints) -> TokenBuffer:
        """Return the buffer with the sequences in `slots` ended where they are."""
        stopped = self.stopped_mask.copy()
        stopped[slots] = True
        return replace(self, stopped_mask=stopped)

    def copy_prefixes(self, sources: Ints, lengths: Ints | None = None) -> TokenBuffer:
        """Return a buffer whose slot i has the first `lengths[i]` tokens of slot `sources[i]`, all of them if None."""
        full = self.lengths[sources]
        new_lengths = full if lengths is None else np.minimum(lengths, full)
        return TokenBuffer(self.tokens[sources], new_lengths, self.stopped_mask[sources] & (new_lengths == full))

    def to_sequences(self, slots: Ints | None = None) -> list[list[int]]:
        """Return the sequences in `slots`, in all slots if None."""
        indices = range(len(self.lengths)) if slots is None else slots.tolist()
        return [self.tokens[slot, : self.lengths[slot]].tolist() for slot in indices]

    def finish_reasons(self, slots: Ints | None = None) -> tuple[str, ...]:
        """Return "stop", "length" or "interrupted" for each of `slots`, for all slots if None."""
        indices = np.arange(len(self.lengths)) if slots is None else slots
        finished = self.finished_mask
        return tuple(STOP if self.stopped_mask[slot] else LENGTH if finished[slot] else INTERRUPTED for slot in indices)


class SamplerState(Protocol):
    """The state of a sequence sampler. Subclass it for the defaults, or define the same members."""

    @property
    def num_slots(self) -> int:
        """Number of sequences at any time."""

    @property
    def num_streams(self) -> int:
        """Number of rows of random numbers that the sampler needs; one per slot unless overridden."""
        return self.num_slots

    @property
    def is_finished(self) -> bool:
        """True when no step is left."""

    def samples(self) -> WeightedSamples:
        """Return the sequences so far."""


@dataclass(frozen=True)
class BatchState(SamplerState):
    """A state whose sequences in `open_slots` (A,) are rows of `batch`; those that have ended have left it."""

    buffer: TokenBuffer
    batch: Batch
    open_slots: Ints

    @property
    def num_slots(self) -> int:
        return len(self.buffer.lengths)

    @property
    def is_finished(self) -> bool:
        return not len(self.open_slots)

    @property
    def session(self) -> Session | None:
        """The session whose energies the next step needs; None when all sequences have ended."""
        return None if self.is_finished else self.batch.session


S = TypeVar("S", bound=SamplerState)


class SequenceSampler(ABC, Generic[S]):
    """A sampler of whole sequences, step by step. The contract suite is `heatbath.testing.check_sequence_sampler`.

    It never evaluates a model: the caller evaluates the session that `pending` returns and passes its energies to
    `step`.
    """

    @abstractmethod
    def init(self, task: Task) -> S:
        """Return the state before the first step. Raises `BadInput` for invalid settings."""

    @abstractmethod
    def pending(self, state: S) -> Session | None:
        """Return the session whose energies the next step needs, None when it needs none."""

    @abstractmethod
    def step(self, rng: Random, state: S, energies: Any) -> tuple[S, SequenceStep]:
        """Advance by one step, from the energies (B, V) of the pending session. `rng` has the streams of the state."""

    def max_rows(self, prompts: int) -> int:
        """Return the largest number of session rows that a run on `prompts` prompts holds at once."""
        return prompts

    def max_tokens_drawn(self, prompts: int, max_tokens: int) -> int:
        """Return a bound on the tokens that a run on `prompts` prompts draws, for sequences of `max_tokens`."""
        return self.max_rows(prompts) * max_tokens


Sampler = TokenSampler | SequenceSampler[Any]


def evaluate(session: Session | None) -> Any:
    """Return the energies of a pending session, None where there is none."""
    return None if session is None else session.energies()


@overload
def evaluate_step(sampler: TokenSampler, rng: Random, state: Batch) -> tuple[Batch, Step]: ...


@overload
def evaluate_step(sampler: SequenceSampler[S], rng: Random, state: S) -> tuple[S, SequenceStep]: ...


def evaluate_step(sampler: Any, rng: Random, state: Any) -> tuple[Any, Any]:
    """Evaluate the energies that a sampler needs next, and advance it by one step."""
    if isinstance(sampler, TokenSampler):
        state = state.push_pending()
        return sampler.step(rng, state, evaluate(state.session))
    return sampler.step(rng, state, evaluate(sampler.pending(state)))  # type: ignore[no-any-return]


def run(sampler: Any, rng: Random, task: Task) -> Iterator[tuple[Any, Any]]:
    """Iterate over (state, info) of the steps of a sampler, without end: the caller stops at `is_finished`."""
    state = sampler.init(task)
    while True:
        state, info = evaluate_step(sampler, rng, state)
        yield state, info


def require_single_prompt(task: Task, sampler: str) -> Task:
    """Return the task. Raises `BadInput` unless it has one prompt."""
    if len(task.prompts) != 1:
        raise BadInput(
            f"the {sampler} sampler takes one prompt, got {len(task.prompts)}: call it once for each prompt."
        )
    return task


def repeat_prompt(task: Task, count: int) -> Task:
    """Return the task with its prompt repeated `count` times."""
    return replace(task, prompts=list(task.prompts) * count)


def validate_burn(burn: float) -> None:
    """Raise `BadInput` unless `burn` is a share of the sweeps in [0, 1)."""
    if not 0 <= burn < 1:
        raise BadInput(f"`burn` must be in [0, 1), got {burn}: it is the share of sweeps to discard.", param="burn")


def validate_at_least(value: int, minimum: int, name: str) -> int:
    """Return the value. Raises `BadInput` unless it is an integer from `minimum` up."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise BadInput(f"`{name}` must be an integer, got {format_value(value)}.", param=name)
    if value < minimum:
        raise BadInput(f"`{name}` must be at least {minimum}, got {value}.", param=name)
    return value
