"""What samplers of sequences share: slots in which answers grow, the moves that change them, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Floats, Ints, Step, Task
from heatbath.errors import BadInput
from heatbath.estimate.estimate import Estimate

Bools = npt.NDArray[np.bool_]
INTERRUPTED, STOP, LENGTH = "interrupted", "stop", "length"


@dataclass(frozen=True)
class SequenceStep:
    """What one step did to the slots.

    First slot i becomes the first `lengths[i]` tokens of what slot `sources[i]` held (None: all stay as they are);
    then each of `slots` (A,) grows by one of the tokens of `step` (A,). A move without a step only copies.
    """

    slots: Ints
    token_step: Step | None
    sources: Ints | None = None
    lengths: Ints | None = None


@dataclass(frozen=True)
class WeightedSamples:
    """Answers and what they weigh; n of them.

    Attributes:
        answers: tokens of each, with the stop token that ended it.
        slots: where each lies, (n,).
        finish: "stop", "length" or "interrupted".
        log_weight: (n,), nats; the mean of their exponentials estimates Z of the sampler's target. Chains and
            independent draws weigh one each, an answer that the target forbids nothing.
        logprob: log-probability of each in the model, at the target's temperature, or at T = 1 where there is no
            target, (n,), nats; None if not kept.
        value: index of the answer to give: a draw by weight, the best or the most voted.
        log_z: log of the target's partition function, None where a sampler has none.
        ess: effective number of independent answers.
        tokens_spent: tokens drawn in all.
        diagnostics: further figures, by name.
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
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class SamplerState(Protocol):
    """The state of a sampler of sequences."""

    @property
    def num_slots(self) -> int:
        """How many answers are held at once."""

    @property
    def num_streams(self) -> int:
        """How many rows of chance it takes."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing more to do."""

    def collect_samples(self) -> WeightedSamples:
        """What there is so far."""


@dataclass(frozen=True)
class TokenBuffer:
    """The answers in N slots: `tokens` (N, L) of which `lengths` (N,) are used; `ended` by a stop token or at L."""

    tokens: Ints
    lengths: Ints
    stopped_mask: Bools

    @classmethod
    def empty(cls, slots: int, length: int) -> TokenBuffer:
        """Slots without a token."""
        return cls(np.zeros((slots, length), np.int64), np.zeros(slots, np.int64), np.zeros(slots, bool))

    @property
    def finished_mask(self) -> Bools:
        """Which slots hold a whole answer, (N,)."""
        return np.asarray(self.stopped_mask | (self.lengths == self.tokens.shape[1]))

    def append_tokens(self, slots: Ints, tokens: Ints, stop_token_ids: Sequence[int]) -> TokenBuffer:
        """With one more token in each of `slots` (A,)."""
        sheet, lengths, stopped = self.tokens.copy(), self.lengths.copy(), self.stopped_mask.copy()
        sheet[slots, lengths[slots]] = tokens
        lengths[slots] += 1
        stopped[slots] = np.isin(tokens, np.asarray(stop_token_ids, np.int64))
        return TokenBuffer(sheet, lengths, stopped)

    def copy_prefixes(self, sources: Ints, lengths: Ints | None = None) -> TokenBuffer:
        """Slot i holding the first `lengths[i]` tokens of what `sources[i]` held, all of them if None."""
        full = self.lengths[sources]
        kept = full if lengths is None else np.minimum(lengths, full)
        return TokenBuffer(self.tokens[sources], kept, self.stopped_mask[sources] & (kept == full))

    def to_sequences(self, slots: Ints | None = None) -> list[list[int]]:
        """The tokens in `slots`, all of them if None."""
        chosen = range(len(self.lengths)) if slots is None else slots.tolist()
        return [self.tokens[slot, : self.lengths[slot]].tolist() for slot in chosen]

    def finish_reasons(self, slots: Ints | None = None) -> tuple[str, ...]:
        """How the answers in `slots` ended."""
        chosen = np.arange(len(self.lengths)) if slots is None else slots
        ended = self.finished_mask
        return tuple(STOP if self.stopped_mask[slot] else LENGTH if ended[slot] else INTERRUPTED for slot in chosen)


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
