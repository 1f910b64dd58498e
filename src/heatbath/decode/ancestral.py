"""Ancestral sampling: every token is drawn from the tempered distribution given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import Batch, Step, Task, TokenSampler, betas_from_temperatures
from heatbath.decode.energy_pipeline import EnergyPipeline, PipelineResult
from heatbath.decode.independent import Independent
from heatbath.decode.rng import Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.schedules import Schedule
from heatbath.decode.windows import Window
from heatbath.energy.base import Field
from heatbath.energy.spec import Spec
from heatbath.ensemble import state
from heatbath.ensemble.arrays import to_numpy

Floats = npt.NDArray[np.float64]
Temperatures = float | Sequence[float] | Floats | Schedule


@dataclass(frozen=True)
class Ancestral(TokenSampler):
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

    def step(self, rng: Random, state: Batch, energies: Any) -> tuple[Batch, Step]:
        schedule = self.temperatures
        if not isinstance(schedule, Schedule):
            return draw_tokens(rng, state, energies, self.pipeline)
        memory = np.asarray(state.memory)
        temperatures = schedule.temperatures(state.build_context(energies), energies, memory)
        batch = replace(state, betas=betas_from_temperatures(temperatures, len(state.row_ids)))
        batch, step = draw_tokens(rng, batch, energies, self.pipeline.with_windows(schedule.windows(memory)))
        return replace(batch, memory=schedule.update_memory(memory, step)), step

    def is_exhausted(self, state: Batch) -> bool:
        if not isinstance(self.temperatures, Schedule) or state.memory is None:
            return False
        return bool(self.temperatures.exhausted_rows(state.memory).all())


def draw_tokens(rng: Random, batch: Batch, energies: Any, pipeline: EnergyPipeline) -> tuple[Batch, Step]:
    """One draw per row from `energies` (B, V) of a batch, after the fields and windows of `pipeline`.

    Where the host observes, the draw and the thermodynamics are one reading of each kind of energies.
    """
    if pipeline.acts:
        result = pipeline(batch.build_context(energies), batch.betas, rng.uniform)
    else:
        result = PipelineResult(energies, batch.betas)
    if not batch.observe:
        tokens = rng.draw_tokens(result.final_energies, batch.betas)
        return replace(batch, pending_tokens=tokens), Step(tokens, result)
    tokens, drawn, plain = rng.draw_observed(result.final_energies, batch.betas)
    logprob = to_numpy(drawn.logprob).astype(np.float64)
    if result.final_energies is energies:
        step = Step(tokens, replace(result, known_state=drawn), logprob, drawn, to_numpy(plain).astype(np.float64))
    else:
        seen = state(energies, batch.betas, index=tokens)
        step = Step(tokens, result.with_states(seen, drawn), logprob, seen)
    return replace(batch, pending_tokens=tokens), step


def build_token_sampler(arguments: SamplerArguments) -> Ancestral:
    """Build the sampler of tokens that other samplers repeat."""
    return Ancestral(arguments.row_temperatures(), arguments.window, arguments.fields)


def _build_ancestral(arguments: SamplerArguments) -> Independent:
    return Independent(build_token_sampler(arguments))


SPEC = Spec("ancestral", "sampler", _build_ancestral, order=10, streams=True)
