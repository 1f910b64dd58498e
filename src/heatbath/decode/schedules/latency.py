"""A deadline traded against temperature, number of samples and length."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.schedules.base import Budget, Floats, Schedule, validate_count, validate_temperature
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.decode.base import Step

START_TIME, LAST_TIME, STEP_SECONDS = 0, 1, 2
PACE_SMOOTHING = 0.2
"""Share of the newest step in the running pace."""


@dataclass(frozen=True)
class LatencyBudget(Schedule):
    r"""Explores at `hot` while there is time, and commits at `cold` as the deadline nears.

    $T = T_{cold} + (T_{hot} - T_{cold})\min(1, r/\rho)$, r the share of `deadline` (seconds) that is left and rho
    `soft`. Time is what `clock` said after the last draw, so that the same clock gives the same temperatures. A step
    of n rows is taken to last `per_step + n per_row` seconds until steps have been timed. Memory is (B, 3): the time
    of the start and of the last draw, and the running seconds a step. See `latency_budget`.
    """

    deadline: float
    per_step: float
    per_row: float
    max_temperature: float
    min_temperature: float
    cooling_fraction: float
    clock: Callable[[], float]
    deterministic = False

    def plan(self, rows: int, tokens: int) -> Budget:
        """What fits: fewer samples first, one sample of fewer tokens where that is not enough.

        Fewer samples need less spread: the temperature falls from `hot` for all `rows` to `cold` for one. Raises
        BadInput where not one token fits.
        """
        wanted, length = validate_count("the number of samples", rows), validate_count("the number of tokens", tokens)
        room = self.deadline / length - self.per_step
        samples = int(np.clip(np.floor(room / self.per_row + 1e-9), 1, wanted)) if self.per_row > 0 else wanted
        pace = self.per_step + samples * self.per_row
        fit = min(length, int(self.deadline / pace + 1e-9))
        if fit < 1:
            raise BadInput(f"one token takes {pace:g} s, and the deadline is {self.deadline:g} s: allow more time.")
        share = (samples - 1) / (wanted - 1) if wanted > 1 else float(fit == length)
        return Budget(
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
        took = now - memory[:, LAST_TIME]
        pace = memory[:, STEP_SECONDS] + PACE_SMOOTHING * (took - memory[:, STEP_SECONDS])
        return np.stack([memory[:, START_TIME], np.full(len(memory), now), pace], axis=1)

    def exhausted_rows(self, memory: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(self.remaining_tokens(memory) == 0)

    def remaining_tokens(self, memory: Floats) -> npt.NDArray[np.int64]:
        """How many more tokens each row has time for at its running pace, (B,): where it is 0, end the row."""
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
    """The schedule `LatencyBudget` for `deadline` seconds.

    `pace` holds the measured seconds of a step, those that any step takes and those that each row adds; `between` the
    temperatures at the deadline and long before; `soft` the share of the time at which cooling begins. Raises BadInput
    for settings out of range.
    """
    cold, hot = (validate_temperature("a temperature of a latency budget", value) for value in temperature_range)
    if cold > hot:
        raise BadInput(f"a latency budget cools from {hot:g} to {cold:g}: give the colder temperature first.")
    if not 0 < deadline < np.inf:
        raise BadInput(f"the deadline is {deadline} s: give a finite number of seconds above 0.")
    if not (min(pace) >= 0 and 0 < sum(pace) < np.inf):
        raise BadInput(f"steps take {pace[0]} s and {pace[1]} s a row: give seconds of 0 or more, not both 0.")
    if not 0 < cooling_fraction <= 1:
        raise BadInput(
            f"cooling begins with a share {cooling_fraction} of the time left: give a number above 0, at most 1."
        )
    return LatencyBudget(float(deadline), float(pace[0]), float(pace[1]), hot, cold, float(cooling_fraction), clock)


def _build_latency(context: BuildContext, seconds: float, *, per_step: float = 0.05, per_row: float = 0.0) -> Schedule:
    return latency_budget(seconds, (per_step, per_row))


SPEC = Spec("latency", "schedule", _build_latency, '{"seconds": 2.0, "per_step": 0.05}', order=110)
