"""The schedule that keeps the entropy or heat capacity of the next token's distribution at a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Schedule
from heatbath.energy.base import Context
from heatbath.ensemble import curve, state
from heatbath.ensemble.arrays import to_numpy

GRID_SIZE, MAX_ITERATIONS, TOLERANCE = 12, 40, 1e-9


@dataclass(frozen=True)
class QuantityTargetSchedule(Schedule):
    """A schedule that solves for the temperature at which `quantity` ("entropy" or "heat_capacity") is `target`, nats.

    It is that of the distribution with the fields and before windows, as is the surprisal of the feedback schedules.
    Entropy rises with temperature, so its solution is unique. Heat capacity rises and falls: the coldest solution is
    used, or the temperature of its peak on a grid of 12 where the peak is lower than the target. T = 0 where the
    quantity exceeds the target at `min_temperature` already, `max_temperature` where the entropy stays below it.
    """

    quantity: str
    target: float
    min_temperature: float
    max_temperature: float

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        grid = np.geomspace(self.min_temperature, self.max_temperature, GRID_SIZE)
        values = _read_quantity(curve(energies, 1 / grid), self.quantity)
        first = np.argmax(values >= self.target, axis=0)
        reached = values.max(0) >= self.target
        fallback = grid[np.argmax(values, axis=0)] if self.quantity == "heat_capacity" else self.max_temperature
        inside = reached & (first > 0)
        rows = np.arange(len(first))
        left = np.maximum(first, 1) - 1
        bracket = np.log(np.stack([grid[left], grid[left + 1]]))
        ends = np.stack([values[left, rows], values[left + 1, rows]]) - self.target
        solved = self._find_root(energies, bracket, np.where(inside, ends, [[-1.0], [1.0]]), inside)
        return np.where(inside, np.exp(solved), np.where(reached, 0.0, fallback))

    def _find_root(self, energies: Any, bracket: Floats, ends: Floats, active: Any) -> Floats:
        """Return ln T by false position (the Illinois rule) until every active row is within the tolerance."""
        (low, high), (at_low, at_high) = bracket, ends
        middle, side = 0.5 * (low + high), np.zeros(low.shape)
        for _ in range(MAX_ITERATIONS if active.any() else 0):
            middle = (low * at_high - high * at_low) / (at_high - at_low)
            middle = np.where((middle > low) & (middle < high), middle, 0.5 * (low + high))
            error = _read_quantity(state(energies, np.exp(-middle)), self.quantity) - self.target
            if (np.abs(error)[active] <= TOLERANCE * max(self.target, 1.0)).all():
                break
            up = error < 0
            at_high = np.where(up & (side > 0), at_high / 2, at_high)
            at_low = np.where(~up & (side < 0), at_low / 2, at_low)
            low, at_low = np.where(up, middle, low), np.where(up, error, at_low)
            high, at_high = np.where(up, high, middle), np.where(up, at_high, error)
            side = np.where(up, 1.0, -1.0)
        return np.asarray(middle)


def _read_quantity(states: Any, quantity: str) -> Floats:
    return to_numpy(getattr(states, quantity)).astype(np.float64)
