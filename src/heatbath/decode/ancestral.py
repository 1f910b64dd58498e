"""Ancestral sampling: each token is drawn from the tempered distribution given the tokens before it."""

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
    """Draw at `temperatures` from the model's energies plus those of `fields`, truncated by the windows, in that order.

    Attributes:
        temperatures: one, one per row, or a `Schedule`. T = 0 draws among the ground states, each equally likely.
        keep_dead_rows: whether a row in which the fields forbid every token goes on, marked as dead, for a caller that
            weighs it; otherwise it is an error.
        window_temperature: temperature of the distribution that windows truncate; that of the draw if None.
    """

    temperatures: Temperatures = 1.0
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()
    keep_dead_rows: bool = False
    window_temperature: float | None = None

    @cached_property
    def pipeline(self) -> EnergyPipeline:
        """The fields and windows between the model's energies and the draw."""
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
            return self.draw_tokens(rng, state, apply_pipeline(rng, state, energies, self.pipeline))
        memory, context = np.asarray(state.memory), state.build_context(energies)
        steered = self.pipeline.add_fields(context, np.ones(len(state.row_ids)))
        drawn_from = steered.final_energies
        temperatures = schedule.temperatures(replace(context, energies=drawn_from), drawn_from, memory)
        batch = replace(state, betas=betas_from_temperatures(temperatures, len(state.row_ids)))
        pipeline = self.pipeline.with_windows(schedule.windows(memory))
        result = apply_pipeline(rng, batch, energies, pipeline, steered=steered.with_betas(batch.betas))
        batch, step = self.draw_tokens(rng, batch, result)
        return replace(batch, memory=schedule.update_memory(memory, step)), step

    def draw_tokens(self, rng: Random, batch: Batch, result: PipelineResult) -> tuple[Batch, Step]:
        """Draw one token per row of a batch from the energies after its fields and windows."""
        return draw_from_result(rng, batch, result)

    def is_exhausted(self, state: Batch) -> bool:
        if not isinstance(self.temperatures, Schedule) or state.memory is None:
            return False
        return bool(self.temperatures.exhausted_rows(state.memory).all())


def apply_pipeline(
    rng: Random, batch: Batch, energies: Any, pipeline: EnergyPipeline, *, steered: PipelineResult | None = None
) -> PipelineResult:
    """Apply fields and windows to the energies (B, V) of a batch; `steered` has its fields added already."""
    if not pipeline.has_steps:
        return PipelineResult(energies, batch.betas)
    context = batch.build_context(energies)
    result = pipeline.add_fields(context, batch.betas) if steered is None else steered
    return pipeline.apply_windows(result, context, rng.uniform)


def draw_tokens(rng: Random, batch: Batch, energies: Any, pipeline: EnergyPipeline) -> tuple[Batch, Step]:
    """Draw one token per row from `energies` (B, V) of a batch, after the fields and windows of `pipeline`."""
    return draw_from_result(rng, batch, apply_pipeline(rng, batch, energies, pipeline))


def draw_from_result(rng: Random, batch: Batch, result: PipelineResult) -> tuple[Batch, Step]:
    """Draw one token per row of a batch from the final energies of `result`.

    Where `batch.observe` is set, the draw and the thermodynamics are computed in one pass over the energies.
    """
    if not batch.observe:
        tokens = rng.draw_tokens(result.final_energies, batch.betas)
        return replace(batch, pending_tokens=tokens), Step(tokens, result)
    tokens, final_state, plain = rng.draw_observed(result.final_energies, batch.betas)
    logprob = to_numpy(final_state.logprob).astype(np.float64)
    if result.final_energies is result.energies:
        step = Step(
            tokens, replace(result, known_state=final_state), logprob, final_state, to_numpy(plain).astype(np.float64)
        )
    else:
        model_state = state(result.energies, batch.betas, index=tokens)
        step = Step(tokens, result.with_states(model_state, final_state), logprob, model_state)
    return replace(batch, pending_tokens=tokens), step


def build_token_sampler(arguments: SamplerArguments) -> Ancestral:
    """Build the sampler of tokens that other samplers repeat."""
    return Ancestral(arguments.row_temperatures(), arguments.window, arguments.fields)


def _build_ancestral(arguments: SamplerArguments) -> Independent:
    return Independent(build_token_sampler(arguments))


SPEC = Spec("ancestral", "sampler", _build_ancestral, order=10, streams=True)
