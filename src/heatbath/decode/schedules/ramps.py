"""Schedules that depend only on the position of the token: constant, linear, cosine, geometric, logarithmic, pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Schedule, completion_lengths, validate_count, validate_temperature
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput


@dataclass(frozen=True)
class PositionSchedule(Schedule):
    """A schedule from a function: `temperature_at` maps positions t = 0, 1, … (B,) to temperatures (B,)."""

    label: str
    temperature_at: Callable[[Floats], Floats]

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        return np.asarray(self.temperature_at(completion_lengths(context)), np.float64)


def constant(value: float) -> PositionSchedule:
    """Return a constant schedule. Raises `BadInput` below 0."""
    temperature = validate_temperature("the temperature", value)
    return PositionSchedule(f"constant={temperature:g}", lambda t: np.full(t.shape, temperature))


def linear(start: float, end: float, steps: int) -> PositionSchedule:
    r"""Return the schedule $T_t = T_0 + (T_1 - T_0)\,t/n$ up to t = n `steps`, and $T_1$ from there on.

    Raises `BadInput` for temperatures below 0 and fewer than one step.
    """
    first, last, length = _validate_ends(start, end, steps)
    return PositionSchedule(
        f"linear={first:g}..{last:g}/{length}", lambda t: first + (last - first) * _progress(t, length)
    )


def cosine(start: float, end: float, steps: int) -> PositionSchedule:
    r"""Return the schedule $T_t = T_1 + (T_0 - T_1)(1 + \cos\pi t/n)/2$ up to t = n `steps`, and $T_1$ from there on.

    Raises `BadInput` for temperatures below 0 and fewer than one step. Source: Loshchilov and Hutter 2016,
    arXiv:1608.03983, equation 5, for a learning rate.
    """
    first, last, length = _validate_ends(start, end, steps)

    def temperature_at(t: Floats) -> Floats:
        return last + (first - last) * (1 + np.cos(np.pi * _progress(t, length))) / 2

    return PositionSchedule(f"cosine={first:g}..{last:g}/{length}", temperature_at)


def geometric(start: float, ratio: float, floor: float = 0.0) -> PositionSchedule:
    r"""Return the schedule $T_t = \max(T_0 r^t, T_{min})$.

    Raises `BadInput` for a temperature below 0 or a ratio outside (0, 1]. Source: Kirkpatrick, Gelatt and Vecchi 1983,
    doi:10.1126/science.220.4598.671.
    """
    first = validate_temperature("the first temperature", start)
    lowest = validate_temperature("the lowest temperature", floor)
    if not 0 < ratio <= 1:
        raise BadInput(f"the ratio of a geometric schedule must be in (0, 1], got {ratio}.", param="ratio")
    return PositionSchedule(f"geometric={first:g}*{ratio:g}^t", lambda t: np.maximum(first * ratio**t, lowest))


def logarithmic(scale: float, offset: float = 1.0) -> PositionSchedule:
    r"""Return the schedule $T_t = c / \ln(1 + t + t_0)$, which finds ground states for a c as large as the barriers.

    Raises `BadInput` for a scale below 0 or an offset that is not above 0. Source: Geman and Geman 1984,
    doi:10.1109/TPAMI.1984.4767596, theorem B.
    """
    barrier = validate_temperature("the scale of a logarithmic schedule", scale)
    if not 0 < offset < np.inf:
        raise BadInput(
            f"the offset of a logarithmic schedule must be finite and greater than 0, got {offset}.", param="offset"
        )
    return PositionSchedule(f"logarithmic={barrier:g}", lambda t: barrier / np.log(1 + t + offset))


def by_position(pieces: Sequence[tuple[int, float]]) -> PositionSchedule:
    """Return a schedule of pieces (first position, temperature), for example [(0, 1.0), (50, 0.3)].

    Raises `BadInput` where positions do not start at 0 and increase, or for temperatures below 0.
    """
    starts = np.asarray([start for start, _ in pieces], float)
    values = np.asarray(
        [validate_temperature(f"the temperature from position {start} on", value) for start, value in pieces]
    )
    if not len(starts) or starts[0] != 0 or not (np.diff(starts) > 0).all():
        raise BadInput(
            f"the positions of `pieces` must start at 0 and increase, got {[start for start, _ in pieces]}.",
            param="pieces",
        )

    def temperature_at(t: Floats) -> Floats:
        return np.asarray(values[np.searchsorted(starts, t, side="right") - 1])

    return PositionSchedule("by_position", temperature_at)


def _validate_ends(start: float, end: float, steps: int) -> tuple[float, float, int]:
    first, last = (
        validate_temperature("the first temperature", start),
        validate_temperature("the last temperature", end),
    )
    return first, last, validate_count("the number of steps", steps)


def _progress(t: Floats, steps: int) -> Floats:
    return np.minimum(t / steps, 1.0)


def _build_linear(context: BuildContext, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return linear(start, end, steps or context.max_tokens)


def _build_cosine(context: BuildContext, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return cosine(start, end, steps or context.max_tokens)


def _build_by_position(context: BuildContext, pieces: Sequence[tuple[int, float]]) -> Schedule:
    return by_position([(int(at), float(value)) for at, value in pieces])


SPECS = (
    Spec("constant", "schedule", constant, "0.8", order=10, takes_context=False),
    Spec("linear", "schedule", _build_linear, '{"start": 1.2, "end": 0.4}', order=20),
    Spec("cosine", "schedule", _build_cosine, '{"start": 1.2, "end": 0.4}', order=30),
    Spec(
        "geometric",
        "schedule",
        geometric,
        '{"start": 1.5, "ratio": 0.95, "floor": 0.3}',
        order=40,
        takes_context=False,
    ),
    Spec("logarithmic", "schedule", logarithmic, "1.0", order=50, takes_context=False),
    Spec("by_position", "schedule", _build_by_position, "[[0, 1.2], [20, 0.5]]", order=60),
)
