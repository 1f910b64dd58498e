"""Schedules by name."""

from __future__ import annotations

from collections.abc import Sequence

from heatbath.decode import Schedule, schedules
from heatbath.engine.menu.choosing import Dish, Setting


def _constant(setting: Setting, value: float) -> Schedule:
    return schedules.constant(value)


def _linear(setting: Setting, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return schedules.linear(start, end, steps or setting.max_tokens)


def _cosine(setting: Setting, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return schedules.cosine(start, end, steps or setting.max_tokens)


def _geometric(setting: Setting, start: float, ratio: float, *, floor: float = 0.0) -> Schedule:
    return schedules.geometric(start, ratio, floor)


def _logarithmic(setting: Setting, scale: float, *, offset: float = 1.0) -> Schedule:
    return schedules.logarithmic(scale, offset)


def _by_position(setting: Setting, pieces: Sequence[tuple[int, float]]) -> Schedule:
    return schedules.by_position([(int(at), float(value)) for at, value in pieces])


def _by_phase(setting: Setting, marker: str, before: float, after: float) -> Schedule:
    return schedules.by_phase(setting.model.encode(marker), before=before, after=after)


def _thermostat(setting: Setting, hold: str, target: float, *, gain: float | None = None) -> Schedule:
    return schedules.thermostat(hold, target, gain=gain)


def _mirostat(
    setting: Setting, target: float, *, rate: float = 1.0, version: int = 2, temperature: float = 1.0
) -> Schedule:
    return schedules.mirostat(target, rate=rate, version=version, temperature=temperature)


def _by_intent(setting: Setting, intent: str) -> Schedule:
    return schedules.by_intent(intent)


def _latency(setting: Setting, seconds: float, *, per_step: float = 0.05, per_row: float = 0.0) -> Schedule:
    return schedules.latency_budget(seconds, (per_step, per_row))


SCHEDULES: dict[str, Dish[Schedule]] = {
    "constant": Dish(_constant, "0.8"),
    "linear": Dish(_linear, '{"start": 1.2, "end": 0.4}'),
    "cosine": Dish(_cosine, '{"start": 1.2, "end": 0.4}'),
    "geometric": Dish(_geometric, '{"start": 1.5, "ratio": 0.95, "floor": 0.3}'),
    "logarithmic": Dish(_logarithmic, "1.0"),
    "by_position": Dish(_by_position, "[[0, 1.2], [20, 0.5]]"),
    "by_phase": Dish(_by_phase, '{"marker": "Answer:", "before": 1.0, "after": 0.3}'),
    "thermostat": Dish(_thermostat, '{"hold": "entropy", "target": 1.0}'),
    "mirostat": Dish(_mirostat, "3.0"),
    "by_intent": Dish(_by_intent, '"code"'),
    "latency": Dish(_latency, '{"seconds": 2.0, "per_step": 0.05}'),
}
"""Schedules by name."""
