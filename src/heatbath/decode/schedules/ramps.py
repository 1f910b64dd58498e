"""Temperatures that depend on the place in the answer alone."""

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
    """`law` (B,) -> (B,) gives the temperature of the tokens at places t = 0, 1, … of the answers."""

    label: str
    temperature_at: Callable[[Floats], Floats]

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        return np.asarray(self.temperature_at(completion_lengths(context)), np.float64)


def constant(value: float) -> PositionSchedule:
    """One temperature throughout. Raises BadInput below 0."""
    held = validate_temperature("the temperature", value)
    return PositionSchedule(f"constant={held:g}", lambda t: np.full(t.shape, held))


def linear(start: float, end: float, steps: int) -> PositionSchedule:
    r"""$T_t = T_0 + (T_1 - T_0)\,t/n$ up to t = n `steps`, and $T_1$ from there on.

    Raises BadInput for temperatures below 0 and less than one step.
    """
    first, last, length = _validate_ends(start, end, steps)
    return PositionSchedule(
        f"linear={first:g}..{last:g}/{length}", lambda t: first + (last - first) * _progress(t, length)
    )


def cosine(start: float, end: float, steps: int) -> PositionSchedule:
    r"""$T_t = T_1 + (T_0 - T_1)(1 + \cos\pi t/n)/2$ up to t = n `steps`, and $T_1$ from there on.

    Raises BadInput for temperatures below 0 and less than one step. Source: Loshchilov and Hutter 2016,
    arXiv:1608.03983, equation 5, for a learning rate.
    """
    first, last, length = _validate_ends(start, end, steps)

    def temperature_at(t: Floats) -> Floats:
        return last + (first - last) * (1 + np.cos(np.pi * _progress(t, length))) / 2

    return PositionSchedule(f"cosine={first:g}..{last:g}/{length}", temperature_at)


def geometric(start: float, ratio: float, floor: float = 0.0) -> PositionSchedule:
    r"""$T_t = \max(T_0 r^t, T_{min})$.

    Raises BadInput for a temperature below 0 or a ratio that is not above 0 and at most 1. Source: Kirkpatrick, Gelatt
    and Vecchi 1983, doi:10.1126/science.220.4598.671.
    """
    first, least = (
        validate_temperature("the first temperature", start),
        validate_temperature("the lowest temperature", floor),
    )
    if not 0 < ratio <= 1:
        raise BadInput(f"the ratio of a geometric schedule is {ratio}: give a number above 0, at most 1.")
    return PositionSchedule(f"geometric={first:g}*{ratio:g}^t", lambda t: np.maximum(first * ratio**t, least))


def logarithmic(scale: float, offset: float = 1.0) -> PositionSchedule:
    r"""$T_t = c / \ln(1 + t + t_0)$, the slow cooling that finds ground states for a c as large as the barriers.

    Raises BadInput for a scale below 0 or an offset that is not above 0. Source: Geman and Geman 1984,
    doi:10.1109/TPAMI.1984.4767596, theorem B.
    """
    barrier = validate_temperature("the scale of a logarithmic schedule", scale)
    if not 0 < offset < np.inf:
        raise BadInput(f"the offset of a logarithmic schedule is {offset}: give a finite number above 0.")
    return PositionSchedule(f"logarithmic={barrier:g}", lambda t: barrier / np.log(1 + t + offset))


def by_position(pieces: Sequence[tuple[int, float]]) -> PositionSchedule:
    """Pieces (first place, temperature), each held until the next begins: [(0, 1.0), (50, 0.3)].

    Raises BadInput where places do not begin at 0 and rise, or for temperatures below 0.
    """
    places = np.asarray([place for place, _ in pieces], float)
    values = np.asarray(
        [validate_temperature(f"the temperature from place {place} on", value) for place, value in pieces]
    )
    if not len(places) or places[0] != 0 or not (np.diff(places) > 0).all():
        raise BadInput(f"pieces begin at {[place for place, _ in pieces]}: begin at 0, and let the places rise.")

    def temperature_at(t: Floats) -> Floats:
        return np.asarray(values[np.searchsorted(places, t, side="right") - 1])

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
