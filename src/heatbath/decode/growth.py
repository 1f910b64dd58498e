"""Answers being drawn out, with what every token counts: the common part of samplers that draw, weigh and choose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heatbath.decode.answers import Bools, Sheet
from heatbath.decode.base import Batch, Floats, Ints, Sampler, Step, Task
from heatbath.decode.potentials import Scorer
from heatbath.decode.seeds import Random
from heatbath.decode.target import Target


@dataclass(frozen=True)
class Answer:
    """N answers: their `sheet`, per token (N, L) the gain log target - log q and log p_T, and their potentials (N,)."""

    sheet: Sheet
    gain: Floats
    logprob: Floats
    energy: Floats

    @classmethod
    def empty(cls, count: int, length: int) -> Answer:
        """Answers without a token."""
        zeros = np.zeros((count, length))
        return cls(Sheet.empty(count, length), zeros, zeros, np.zeros(count))

    @property
    def weight(self) -> Floats:
        r"""$w(x) = \log \pi(x) - \log q(x)$, (N,)."""
        return self._used(self.gain) - self.energy

    @property
    def total_logprob(self) -> Floats:
        """log p_T of the answers, (N,)."""
        return self._used(self.logprob)

    def taken(self, sources: Ints, lengths: Ints | None = None) -> Answer:
        """Slot i with the first `lengths[i]` tokens of slot `sources[i]`."""
        sheet = self.sheet.taken(sources, lengths)
        return Answer(sheet, self.gain[sources], self.logprob[sources], self.energy[sources])

    def chosen(self, mask: Bools, other: Answer) -> Answer:
        """Slots of `other` where `mask` (N,), of this one elsewhere."""
        wide = mask[:, None]
        sheet = Sheet(
            np.where(wide, other.sheet.tokens, self.sheet.tokens),
            np.where(mask, other.sheet.lengths, self.sheet.lengths),
            np.where(mask, other.sheet.stopped, self.sheet.stopped),
        )
        gain, logprob = np.where(wide, other.gain, self.gain), np.where(wide, other.logprob, self.logprob)
        return Answer(sheet, gain, logprob, np.where(mask, other.energy, self.energy))

    def _used(self, values: Floats) -> Floats:
        used = np.arange(values.shape[1]) < self.sheet.lengths[:, None]
        return np.asarray(np.where(used, values, 0.0).sum(1))


@dataclass(frozen=True)
class Drawing:
    """Where answers come from: the task, the law they are weighed by, and the sampler that draws their tokens."""

    task: Task
    target: Target
    sampler: Sampler[Batch, Step]
    scorer: Scorer

    @classmethod
    def of(cls, task: Task, target: Target, sampler: Sampler[Batch, Step] | None = None) -> Drawing:
        """With the target's own proposal unless another sampler is given."""
        return cls(task, target, sampler or target.proposed, Scorer.of(target.potentials, task))

    def begin(self, answer: Answer, limits: Ints) -> Growth:
        """Go on with every answer that has not ended and has fewer than `limits` (N,) tokens."""
        rows = np.flatnonzero(~_full(answer.sheet, limits))
        batch = None
        if len(rows):
            batch = self.sampler.init(replace(self.task, begun=answer.sheet.answers(rows)))
            batch = replace(batch, rows=self.task.first_row + rows)
        return Growth(answer, limits, rows, batch)

    def grow(self, growth: Growth, rng: Random) -> tuple[Growth, Step | None]:
        """One token more for every open answer. `rng` has a row for each answer."""
        rows, answer = growth.open, growth.answer
        if growth.batch is None:
            return growth, None
        batch, step = self.sampler.step(rng.at(rows.tolist()), growth.batch)
        scores = self.target.scores(batch, step)
        at = answer.sheet.lengths[rows]
        gain, logprob, energy = answer.gain.copy(), answer.logprob.copy(), answer.energy.copy()
        gain[rows, at] = self.target.power * scores.model - scores.field - scores.drawn
        logprob[rows, at] = scores.model
        sheet = answer.sheet.grown(rows, step.tokens, batch.stop)
        full = _full(sheet, growth.limits)[rows]
        if full.any():
            energy[rows[full]] = self.scorer(sheet.answers(rows[full]), sheet.ended[rows[full]])
        if full.any() and not full.all():
            batch = batch.keep(np.flatnonzero(~full))
        open_ = rows[~full]
        return Growth(Answer(sheet, gain, logprob, energy), growth.limits, open_, batch if len(open_) else None), step


@dataclass(frozen=True)
class Growth:
    """Answers of which those `open` (A,) are rows of `batch`; each grows until it ends or has `limits` tokens."""

    answer: Answer
    limits: Ints
    open: Ints
    batch: Batch | None

    @property
    def done(self) -> bool:
        return self.batch is None


def _full(sheet: Sheet, limits: Ints) -> Bools:
    return sheet.stopped | (sheet.lengths >= limits)
