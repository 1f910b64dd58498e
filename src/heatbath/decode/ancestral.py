"""Ancestral sampling: every token is drawn from the tempered distribution given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Batch, Sampler, Step, Task, betas_of
from heatbath.decode.schedules import Schedule
from heatbath.decode.seeds import Random
from heatbath.decode.steer import Steering
from heatbath.decode.windows import Window
from heatbath.energy.base import Field

Floats = npt.NDArray[np.float64]
Temperatures = float | Sequence[float] | Floats | Schedule


@dataclass(frozen=True)
class Ancestral(Sampler[Batch, Step]):
    """Draws at `temperatures`, after `fields` have added and `windows` have cut, in that order.

    `temperatures` are one, one per row, or a `Schedule`. T = 0 draws among the ground states, each equally likely.
    A row that fields leave nothing is an error, unless rows are to `spare`: then it goes on, marked as dead, for those
    who weigh it. Windows cut the distribution at the temperature of the draw, or at the temperature `cut_at`.
    """

    temperatures: Temperatures = 1.0
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()
    spare: bool = False
    cut_at: float | None = None

    @cached_property
    def steering(self) -> Steering:
        """What acts between the model's energies and the draw."""
        return Steering(self.fields, self.window, spare=self.spare, cut_at=self.cut_at)

    def init(self, task: Task) -> Batch:
        batch = task.open()
        rows = len(batch.rows)
        if isinstance(self.temperatures, Schedule):
            return replace(batch, memory=self.temperatures.init(rows))
        return replace(batch, betas=betas_of(self.temperatures, rows))

    def step(self, rng: Random, state: Batch) -> tuple[Batch, Step]:
        if isinstance(self.temperatures, Schedule):
            return _scheduled(self.temperatures, rng, state.advanced(), self.steering)
        batch, step = drawn(state.advanced(), rng, self.steering)
        return batch, step


def drawn(batch: Batch, rng: Random, steering: Steering) -> tuple[Batch, Step]:
    """One draw per row from the steered energies of a batch whose tokens are all in the session."""
    context = batch.context(batch.session.energies())
    steered = steering(context, batch.betas, rng.uniform)
    tokens = rng.draw(steered.drawn, batch.betas)
    return replace(batch, pending=tokens), Step(tokens, steered)


def _scheduled(schedule: Schedule, rng: Random, batch: Batch, steering: Steering) -> tuple[Batch, Step]:
    memory = np.asarray(batch.memory)
    energies = batch.session.energies()
    temperatures = schedule.temperatures(batch.context(energies), energies, memory)
    windows = (*steering.windows, *schedule.windows(memory))
    now = replace(batch, betas=betas_of(temperatures, len(batch.rows)))
    batch, step = drawn(now, rng, Steering(steering.fields, windows, spare=steering.spare, cut_at=steering.cut_at))
    return replace(batch, memory=schedule.updated(memory, step)), step
