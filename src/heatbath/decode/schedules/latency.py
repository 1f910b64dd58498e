"""The latency budget: temperature, number of samples and length that fit a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.schedules.base import Floats, SamplingPlan, Schedule, validate_count, validate_temperature
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext, Range, Spec
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.decode.base import Step

START_TIME, LAST_TIME, STEP_SECONDS = 0, 1, 2
PACE_SMOOTHING = 0.2
"""Weight of the newest step in the moving average of seconds per step."""


@dataclass(frozen=True)
class LatencyBudget(Schedule):
    r"""A schedule that cools from `max_temperature` to `min_temperature` as the deadline nears.

    $T = T_{min} + (T_{max} - T_{min})\min(1, r/\rho)$, r the share of `deadline` (seconds) that is left and rho
    `cooling_fraction`. The time is that of `clock` after the last draw, so the same clock gives the same temperatures.
    A step of n rows is estimated at `per_step + n per_row` seconds until steps have been timed. Memory is (B, 3): the
    time of the start and of the last draw, and the moving average of seconds per step. See `latency_budget`.
    """

    deadline: float
    per_step: float
    per_row: float
    max_temperature: float
    min_temperature: float
    cooling_fraction: float
    clock: Callable[[], float]
    deterministic = False

    def plan(self, rows: int, tokens: int) -> SamplingPlan:
        """Return what fits the deadline: first fewer samples, then one sample of fewer tokens.

        Fewer samples need less diversity: the temperature falls from `max_temperature` for all `rows` to
        `min_temperature` for one. Raises `BadInput` where not one token fits.
        """
        count, length = validate_count("the number of samples", rows), validate_count("the number of tokens", tokens)
        room = self.deadline / length - self.per_step
        samples = int(np.clip(np.floor(room / self.per_row + 1e-9), 1, count)) if self.per_row > 0 else count
        pace = self.per_step + samples * self.per_row
        fit = int(min(length, self.deadline / pace + 1e-9))
        if fit < 1:
            raise BadInput(
                f"the deadline of {self.deadline:g} s is too short: one token takes {pace:g} s; allow more time.",
                param="deadline",
            )
        share = (samples - 1) / (count - 1) if count > 1 else float(fit == length)
        return SamplingPlan(
            samples, fit, self.min_temperature + (self.max_temperature - self.min_temperature) * share, fit * pace
        )

    def init(self, rows: int) -> Floats:
        now = self.clock()
        return np.tile([now, now, self.per_step + rows * self.per_row], (rows, 1))

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        left = 1 - (memory[:, LAST_TIME] - memory[:, START_TIME]) / self.deadline
        share = np.clip(left / self.cooling_fraction, 0.0, 1.0)
        return np.asarray(self.min_temperature + (self.max_temperature - self.min_temperature) * share)

    def update_memory(self, memory: Floats, step: Step) -> Floats:
        now = self.clock()
        duration = now - memory[:, LAST_TIME]
        pace = memory[:, STEP_SECONDS] + PACE_SMOOTHING * (duration - memory[:, STEP_SECONDS])
        return np.stack([memory[:, START_TIME], np.full(len(memory), now), pace], axis=1)

    def exhausted_rows(self, memory: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(self.remaining_tokens(memory) == 0)

    def remaining_tokens(self, memory: Floats) -> npt.NDArray[np.int64]:
        """Return the number of tokens that each row has time for at its present pace, (B,)."""
        left = self.deadline - (memory[:, LAST_TIME] - memory[:, START_TIME])
        pace = np.maximum(memory[:, STEP_SECONDS], np.finfo(float).tiny)
        return np.maximum(np.floor(np.minimum(left / pace, 2.0**53)), 0).astype(np.int64)


def latency_budget(
    deadline: float,
    pace: tuple[float, float],
    *,
    temperature_range: tuple[float, float] = (0.0, 1.0),
    cooling_fraction: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
) -> LatencyBudget:
    """Return a `LatencyBudget` for `deadline` seconds.

    `pace` is the measured seconds per step and per row and step, `temperature_range` the temperatures at the deadline
    and at the start, `cooling_fraction` the share of time left at which cooling begins. Raises `BadInput` for settings
    out of range.
    """
    cold, hot = (validate_temperature("a temperature of a latency budget", value) for value in temperature_range)
    if cold > hot:
        raise BadInput(
            f"`temperature_range` must be (lower, upper), got ({cold:g}, {hot:g}).", param="temperature_range"
        )
    if not 0 < deadline < np.inf:
        raise BadInput(f"`deadline` must be positive, finite seconds, got {deadline}.", param="deadline")
    if not (min(pace) >= 0 and 0 < sum(pace) < np.inf):
        raise BadInput(f"`pace` must be seconds of 0 or greater, not both 0, got {pace}.", param="pace")
    if not 0 < cooling_fraction <= 1:
        raise BadInput(f"`cooling_fraction` must be in (0, 1], got {cooling_fraction}.", param="cooling_fraction")
    return LatencyBudget(float(deadline), float(pace[0]), float(pace[1]), hot, cold, float(cooling_fraction), clock)


def _build_latency(context: BuildContext, seconds: float, *, per_step: float = 0.05, per_row: float = 0.0) -> Schedule:
    return latency_budget(seconds, (per_step, per_row))


SPEC = Spec(
    "latency",
    "schedule",
    _build_latency,
    '{"seconds": 2.0, "per_step": 0.05}',
    order=110,
    ranges={"seconds": Range(1e-6, 86400.0), "per_step": Range(0.0, 3600.0), "per_row": Range(0.0, 3600.0)},
)
