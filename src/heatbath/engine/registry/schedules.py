"""Schedules by name."""

from __future__ import annotations

from collections.abc import Sequence

from heatbath.decode import Schedule, schedules
from heatbath.engine.registry.entry import Dish, Setting


def _build_constant(context: Setting, value: float) -> Schedule:
    return schedules.constant(value)


def _build_linear(context: Setting, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return schedules.linear(start, end, steps or context.max_tokens)


def _build_cosine(context: Setting, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return schedules.cosine(start, end, steps or context.max_tokens)


def _build_geometric(context: Setting, start: float, ratio: float, *, floor: float = 0.0) -> Schedule:
    return schedules.geometric(start, ratio, floor)


def _build_logarithmic(context: Setting, scale: float, *, offset: float = 1.0) -> Schedule:
    return schedules.logarithmic(scale, offset)


def _build_by_position(context: Setting, pieces: Sequence[tuple[int, float]]) -> Schedule:
    return schedules.by_position([(int(at), float(value)) for at, value in pieces])


def _build_by_phase(context: Setting, marker: str, before: float, after: float) -> Schedule:
    return schedules.by_phase(context.model.encode(marker), before=before, after=after)


def _build_thermostat(context: Setting, hold: str, target: float, *, gain: float | None = None) -> Schedule:
    return schedules.thermostat(hold, target, gain=gain)


def _build_mirostat(
    context: Setting, target: float, *, rate: float = 1.0, version: int = 2, temperature: float = 1.0
) -> Schedule:
    return schedules.mirostat(target, rate=rate, version=version, temperature=temperature)


def _build_by_intent(context: Setting, intent: str) -> Schedule:
    return schedules.by_intent(intent)


def _build_latency(context: Setting, seconds: float, *, per_step: float = 0.05, per_row: float = 0.0) -> Schedule:
    return schedules.latency_budget(seconds, (per_step, per_row))


SCHEDULES: dict[str, Dish[Schedule]] = {
    "constant": Dish(_build_constant, "0.8"),
    "linear": Dish(_build_linear, '{"start": 1.2, "end": 0.4}'),
    "cosine": Dish(_build_cosine, '{"start": 1.2, "end": 0.4}'),
    "geometric": Dish(_build_geometric, '{"start": 1.5, "ratio": 0.95, "floor": 0.3}'),
    "logarithmic": Dish(_build_logarithmic, "1.0"),
    "by_position": Dish(_build_by_position, "[[0, 1.2], [20, 0.5]]"),
    "by_phase": Dish(_build_by_phase, '{"marker": "Answer:", "before": 1.0, "after": 0.3}'),
    "thermostat": Dish(_build_thermostat, '{"hold": "entropy", "target": 1.0}'),
    "mirostat": Dish(_build_mirostat, "3.0"),
    "by_intent": Dish(_build_by_intent, '"code"'),
    "latency": Dish(_build_latency, '{"seconds": 2.0, "per_step": 0.05}'),
}
"""Schedules by name."""
