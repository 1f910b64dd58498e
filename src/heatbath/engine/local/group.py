"""Rows that are drawn together: their arrays, one draw and one record a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode import Schedule, Step
from heatbath.decode.base import betas_from_temperatures
from heatbath.decode.energy_pipeline import EnergyPipeline, PipelineResult
from heatbath.decode.schedules import LatencyBudget
from heatbath.energy import Context
from heatbath.engine.local.chance import Chance, Floats, Ints
from heatbath.engine.local.job import RequestState, SequenceState
from heatbath.engine.local.rows import Lines, Top, alternatives, plain_logprob
from heatbath.engine.step_record import build_record
from heatbath.ensemble import State, observed_draw, quantile, state
from heatbath.ensemble.arrays import to_numpy
from heatbath.models.pool.base import Pool
from heatbath.record import Record, record_from_state


@dataclass(frozen=True)
class Drawn:
    """One step of a group, a row each (B,): tokens, their log-probability at T = 1, alternatives, and the record."""

    tokens: Ints
    logprobs: Floats
    tops: Sequence[Top]
    record: Record | None
    late: bool = False


class Group:
    """Rows with the same windows and the same kind of record; one request alone where fields or a schedule act."""

    def __init__(self, job: RequestState, pool: Pool) -> None:
        settings = job.compiled_request.settings
        self.answers: list[SequenceState] = []
        self.chance = Chance()
        self._pool = pool
        self._keep = job.compiled_request.record_mode
        self._steering = EnergyPipeline(settings.fields, settings.window)
        self._stop = job.compiled_request.stop_token_ids
        self._schedule = settings.temperature if isinstance(settings.temperature, Schedule) else None
        self._betas = np.empty(0)
        self._prompts = np.empty(0, np.int64)
        self._numbers = np.empty(0, np.int64)
        self._memory = np.empty((0, 0))

    def __len__(self) -> int:
        return len(self.answers)

    def join(self, job: RequestState, answers: Sequence[SequenceState]) -> None:
        """The answers of one more request."""
        settings, count = job.compiled_request.settings, len(answers)
        greedy = settings.sampler == "greedy"
        if self._schedule is None:
            betas = (
                np.full(count, np.inf)
                if greedy
                else betas_from_temperatures(job.compiled_request.request.temperature, count)
            )
        else:
            betas, self._memory = np.ones(count), self._schedule.init(count)
        self.answers += answers
        self._betas = np.concatenate([self._betas, betas])
        self._prompts = np.concatenate([self._prompts, np.full(count, job.prompt_length)])
        self._numbers = np.concatenate([self._numbers, np.arange(count)])
        self.chance.join([(settings.seed, number) for number in range(count)], still=greedy)

    def keep(self, indices: Ints) -> None:
        """Drop the rows that are not among `indices`."""
        self.answers = [self.answers[row] for row in indices.tolist()]
        self._betas, self._prompts = self._betas[indices], self._prompts[indices]
        self._numbers = self._numbers[indices]
        self.chance.keep(indices)
        if self._schedule is not None:
            self._memory = self._memory[indices]

    def step(self, energies: Any) -> Drawn:
        """One token for every row, from energies (B, V)."""
        steering, late = self._steering, False
        if not (steering.fields or steering.windows or self._schedule or self._keep is True):
            return self._plain(energies)
        context = self._context(energies)
        if self._schedule is not None:
            temperatures = self._schedule.temperatures(context, energies, self._memory)
            self._betas = betas_from_temperatures(temperatures, len(self))
            windows = (*steering.windows, *self._schedule.windows(self._memory))
            steering = EnergyPipeline(steering.fields, windows)
        steered = steering(context, self._betas, self.chance.uniform)
        step, seen = self._stepped(steered)
        if self._schedule is not None:
            self._memory = self._schedule.update_memory(self._memory, step)
            late = isinstance(self._schedule, LatencyBudget) and not self._schedule.remaining_tokens(self._memory).any()
        record = build_record(step, self._keep, seen)
        drawn = self._told(energies, step.tokens, plain_logprob(energies, step.tokens, record), record)
        return replace(drawn, late=late)

    def _stepped(self, steered: PipelineResult) -> tuple[Step, State | None]:
        """The draw, and the state of the model's energies where it is wanted: each kind of energies is read once."""
        uniform = self.chance.uniform()
        if self._keep != "state" or steered.final_energies is steered.energies:
            return Step(quantile(steered.final_energies, self._betas, uniform), steered), None
        tokens, drawn, _ = observed_draw(steered.final_energies, self._betas, uniform)
        seen = state(steered.energies, self._betas, index=tokens)
        logprob = to_numpy(drawn.logprob).astype(np.float64)
        return Step(tokens, steered.with_states(seen, drawn), logprob), seen

    def _plain(self, energies: Any) -> Drawn:
        """The draw and the record in one pass over the energies."""
        tokens, seen, plain = observed_draw(energies, self._betas, self.chance.uniform())
        record = None
        if self._keep:
            record = record_from_state(seen).with_columns({"kept_mass": np.ones(len(tokens))})
        return self._told(energies, tokens, to_numpy(plain), record)

    def _told(self, energies: Any, tokens: Ints, logprobs: Floats, record: Record | None) -> Drawn:
        wanted = [answer.request_state.compiled_request.request.top_logprobs for answer in self.answers]
        return Drawn(tokens, logprobs, alternatives(energies, tokens, logprobs, wanted), record)

    def _context(self, energies: Any) -> Context:
        lines = Lines(self._pool, [answer.row for answer in self.answers])
        size, numbers = int(energies.shape[-1]), self._numbers.tolist()
        return Context(lines, self._prompts.tolist(), size, self._stop, (), numbers, energies)
