"""Sequential Monte Carlo over answers (Del Moral et al. 2006; for language models Lew et al. 2023, arXiv:2306.03081).

Particles are rows of one batch. They grow token by token from a proposal, weights make up for what it does not know,
and where weights have become uneven the population is resampled, which is a fork of the session. The mean weight is
an unbiased estimate of the partition function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.answers import Move, Sheet, at_least, only_prompt
from heatbath.decode.base import Batch, Floats, Ints, Sampler, Task
from heatbath.decode.particles import Particles
from heatbath.decode.potentials import Scorer
from heatbath.decode.seeds import Random
from heatbath.decode.target import Scores, Target
from heatbath.errors import BadInput
from heatbath.estimate.resample import SCHEMES, conditional_multinomial, ess, resample


@dataclass(frozen=True)
class SMC(Sampler[Particles, Move]):
    """`replicates` populations of `particles`, resampled by `resampling` below `threshold` x P effective ones.

    Replicates share a batch and nothing else; log Z has its error from them. With a `ladder` the power of the target
    climbs from 1 in so many tokens. A `pinned` answer stays in the first slot of each replicate: if it is an exact
    draw from the target, the mean of log Z estimates is an upper bound (conditional SMC; Andrieu et al. 2010).
    """

    target: Target = field(default_factory=Target)
    particles: int = 16
    replicates: int = 4
    resampling: str = "systematic"
    threshold: float = 0.5
    ladder: int = 0
    pinned: Sequence[int] | None = None

    def __post_init__(self) -> None:
        at_least(self.particles, 1, "particles")
        at_least(self.replicates, 1, "replicates")
        at_least(self.ladder, 0, "ladder")
        if self.resampling not in SCHEMES:
            raise BadInput(f"there is no resampling {self.resampling!r}: choose from {', '.join(SCHEMES)}.")
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"the threshold is {self.threshold}: give a share of the particles, from 0 to 1.")

    def init(self, task: Task) -> Particles:
        count = self.particles * self.replicates
        scorer = Scorer.of(self.target.potentials, only_prompt(task, "SMC"))
        self._whole(task)
        batch = populated(self.target, task, count)
        zeros, each = np.zeros(count), np.zeros(self.replicates)
        return Particles(
            sheet=Sheet.empty(count, task.max_tokens),
            batch=batch,
            open=np.arange(count),
            scorer=scorer,
            log_weight=zeros,
            log_z=each,
            logprob=zeros,
            energy=zeros,
            founders=np.arange(count),
            resampled=each.astype(np.int64),
            first_row=task.first_row,
            exponent=self._exponent(0),
        )

    def step(self, rng: Random, state: Particles) -> tuple[Particles, Move]:
        state, sources = self._resampled(rng, state)
        if state.done:
            return self._over(rng, state), Move(np.empty(0, np.int64), None, sources)
        batch, step = self.target.proposed.step(self._pinned(rng, state).at(state.open.tolist()), state.batch)
        scores = self.target.scores(batch, step)
        slots = state.open
        sheet = state.sheet.grown(slots, step.tokens, batch.stop)
        logprob, log_weight = state.logprob.copy(), state.log_weight.copy()
        logprob[slots] += scores.model
        log_weight[slots] += _gained(scores)
        stay = np.flatnonzero(~sheet.ended[slots])
        exponent = self._exponent(int(sheet.lengths.max())) if len(stay) else self.target.power
        log_weight += exponent * logprob - state.exponent * state.logprob
        energy = state.energy.copy()
        energy[slots] = state.scorer(sheet.answers(slots), sheet.ended[slots])
        log_weight = _less(log_weight, energy, state.energy)
        if 0 < len(stay) < len(slots):
            batch = batch.keep(stay)
        state = replace(
            state,
            sheet=sheet,
            batch=batch,
            open=slots[stay],
            log_weight=log_weight,
            logprob=logprob,
            energy=energy,
            exponent=exponent,
            spent=state.spent + len(slots),
        )
        state = self._alive(state)
        return state if len(stay) else replace(state, value=rng.choose(state.share)), Move(slots, step, sources)

    def _over(self, rng: Random, state: Particles) -> Particles:
        """Resampling has left none but whole answers: their weights are taken to the power of the target."""
        rise = (self.target.power - state.exponent) * state.logprob
        state = replace(state, log_weight=state.log_weight + rise, exponent=self.target.power)
        return replace(state, value=rng.choose(state.share))

    def _whole(self, task: Task) -> None:
        """Raise `BadInput` unless what is pinned is a whole answer."""
        answer = self.pinned
        if answer is None or len(answer) == task.max_tokens or (answer and answer[-1] in task.stop):
            return
        raise BadInput(f"the pinned answer of {len(answer)} tokens is not whole: end it with a stop token.")

    def _exponent(self, length: int) -> float:
        """The power after so many tokens."""
        if length >= self.ladder:
            return self.target.power
        return 1 + (self.target.power - 1) * length / self.ladder

    def _pinned(self, rng: Random, state: Particles) -> Random:
        if self.pinned is None:
            return rng
        at = int(state.sheet.lengths[state.open].max())
        # Once the pinned answer has ended its slot is not open, and no row gets the token.
        token = self.pinned[at] if at < len(self.pinned) else 0
        return _Follow(rng, np.arange(state.slots), state.groups[:, 0], token)

    def _resampled(self, rng: Random, state: Particles) -> tuple[Particles, Ints | None]:
        """Populations whose weights are too uneven are drawn anew; their weights become log Z."""
        parents, log_weight, log_z = np.arange(state.slots), state.log_weight.copy(), state.log_z.copy()
        counts = state.resampled.copy()
        for replicate, slots in enumerate(state.groups):
            weights = state.log_weight[slots]
            if not np.isfinite(weights.max()) or np.ptp(weights) == 0:
                continue
            if ess(weights) >= self.threshold * len(slots):
                continue
            parents[slots] = slots[self._drawn(weights, rng)]
            log_z[replicate] += logsumexp(weights) - np.log(len(slots))
            log_weight[slots] = 0.0
            counts[replicate] += 1
        if np.array_equal(counts, state.resampled):
            return state, None
        moved = descended(state, parents)
        return replace(moved, log_weight=log_weight, log_z=log_z, resampled=counts), parents

    def _drawn(self, weights: Floats, rng: Random) -> Ints:
        if self.pinned is not None:
            return conditional_multinomial(weights, rng.choose)
        return resample(self.resampling, weights, rng.choose)

    def _alive(self, state: Particles) -> Particles:
        """The state itself. Raises `BadInput` when all is forbidden; a replicate that dies has Z = 0 and counts."""
        if not state.living.any():
            raise BadInput(
                f"at token {int(state.sheet.lengths.max())} every particle is forbidden by {self.target.names}: "
                "ask for more particles, or for less."
            )
        if self.pinned is not None and np.isneginf(state.log_weight[state.groups[:, 0]]).any():
            raise BadInput(f"the pinned answer is forbidden by {self.target.names}: pin one that the target allows.")
        return state


def populated(target: Target, task: Task, count: int) -> Batch:
    """`count` rows on the task's prompt, evaluated once and forked."""
    one = replace(task, prompts=task.prompts[:1])
    batch = target.proposed.init(one)
    batch.session.energies()
    rows = batch.keep(np.zeros(count, np.int64))
    return replace(rows, rows=task.first_row + np.arange(count))


def descended(state: Particles, parents: Ints) -> Particles:
    """Every slot with what its parent (N,) held; the session forks."""
    sheet = state.sheet.taken(parents)
    row_of = np.full(state.slots, -1)
    row_of[state.open] = np.arange(len(state.open))
    open_ = np.flatnonzero(~sheet.ended)
    batch = state.batch
    if len(open_):
        batch = replace(batch.keep(row_of[parents[open_]]), rows=state.first_row + open_)
    return replace(
        state,
        sheet=sheet,
        batch=batch,
        open=open_,
        logprob=state.logprob[parents],
        energy=state.energy[parents],
        founders=state.founders[parents],
    )


@dataclass(frozen=True)
class _Follow:
    """Chance that gives `token` to the rows of some slots."""

    source: Random
    rows: Ints
    slots: Ints
    token: int

    def uniform(self) -> Floats:
        return self.source.uniform()

    def draw(self, energies: Any, betas: Floats) -> Ints:
        tokens = self.source.draw(energies, betas)
        return np.where(np.isin(self.rows, self.slots), self.token, tokens)

    def choose(self, probabilities: Floats) -> int:
        return self.source.choose(probabilities)

    def at(self, rows: Sequence[int]) -> Random:
        return _Follow(self.source.at(rows), self.rows[list(rows)], self.slots, self.token)


def _gained(scores: Scores) -> Floats:
    """What fields and proposal add to log-weights, (A,); nothing is left of a token that cannot be drawn."""
    lost = np.isposinf(scores.field) | np.isneginf(scores.drawn)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(lost, -np.inf, -scores.field - scores.drawn))


def _less(log_weight: Floats, energy: Floats, before: Floats) -> Floats:
    """Weights after potentials rose from `before` to `energy`; a forbidden answer stays so."""
    with np.errstate(invalid="ignore"):
        rise = np.where(np.isinf(energy), np.inf, energy - before)
    return log_weight - rise
