"""Ancestral sampling: every token is drawn from the tempered distribution given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Batch, Sampler, Step, Task, betas_from_temperatures
from heatbath.decode.energy_pipeline import EnergyPipeline
from heatbath.decode.rng import Random
from heatbath.decode.schedules import Schedule
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
    keep_dead_rows: bool = False
    window_temperature: float | None = None

    @cached_property
    def pipeline(self) -> EnergyPipeline:
        """What acts between the model's energies and the draw."""
        return EnergyPipeline(
            self.fields, self.window, keep_dead_rows=self.keep_dead_rows, window_temperature=self.window_temperature
        )

    def init(self, task: Task) -> Batch:
        batch = task.open_batch()
        rows = len(batch.row_ids)
        if isinstance(self.temperatures, Schedule):
            return replace(batch, memory=self.temperatures.init(rows))
        return replace(batch, betas=betas_from_temperatures(self.temperatures, rows))

    def step(self, rng: Random, state: Batch) -> tuple[Batch, Step]:
        if isinstance(self.temperatures, Schedule):
            return _draw_scheduled(self.temperatures, rng, state.push_pending(), self.pipeline)
        batch, step = draw_tokens(state.push_pending(), rng, self.pipeline)
        return batch, step


def draw_tokens(batch: Batch, rng: Random, pipeline: EnergyPipeline) -> tuple[Batch, Step]:
    """One draw per row from the steered energies of a batch whose tokens are all in the session."""
    context = batch.build_context(batch.session.energies())
    steered = pipeline(context, batch.betas, rng.uniform)
    tokens = rng.draw_tokens(steered.final_energies, batch.betas)
    return replace(batch, pending_tokens=tokens), Step(tokens, steered)


def _draw_scheduled(schedule: Schedule, rng: Random, batch: Batch, pipeline: EnergyPipeline) -> tuple[Batch, Step]:
    memory = np.asarray(batch.memory)
    energies = batch.session.energies()
    temperatures = schedule.temperatures(batch.build_context(energies), energies, memory)
    windows = (*pipeline.windows, *schedule.windows(memory))
    now = replace(batch, betas=betas_from_temperatures(temperatures, len(batch.row_ids)))
    batch, step = draw_tokens(
        now,
        rng,
        EnergyPipeline(
            pipeline.fields,
            windows,
            keep_dead_rows=pipeline.keep_dead_rows,
            window_temperature=pipeline.window_temperature,
        ),
    )
    return replace(batch, memory=schedule.update_memory(memory, step)), step
