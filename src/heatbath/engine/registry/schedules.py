"""Schedules by name."""

from __future__ import annotations

from collections.abc import Sequence

from heatbath.decode import Schedule, schedules
from heatbath.engine.registry.entry import BuildContext, Entry


def _build_constant(context: BuildContext, value: float) -> Schedule:
    return schedules.constant(value)


def _build_linear(context: BuildContext, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return schedules.linear(start, end, steps or context.max_tokens)


def _build_cosine(context: BuildContext, start: float, end: float, *, steps: int | None = None) -> Schedule:
    return schedules.cosine(start, end, steps or context.max_tokens)


def _build_geometric(context: BuildContext, start: float, ratio: float, *, floor: float = 0.0) -> Schedule:
    return schedules.geometric(start, ratio, floor)


def _build_logarithmic(context: BuildContext, scale: float, *, offset: float = 1.0) -> Schedule:
    return schedules.logarithmic(scale, offset)


def _build_by_position(context: BuildContext, pieces: Sequence[tuple[int, float]]) -> Schedule:
    return schedules.by_position([(int(at), float(value)) for at, value in pieces])


def _build_by_phase(context: BuildContext, marker: str, before: float, after: float) -> Schedule:
    return schedules.by_phase(context.model.encode(marker), before=before, after=after)


def _build_thermostat(context: BuildContext, hold: str, target: float, *, gain: float | None = None) -> Schedule:
    return schedules.thermostat(hold, target, gain=gain)


def _build_mirostat(
    context: BuildContext, target: float, *, rate: float = 1.0, version: int = 2, temperature: float = 1.0
) -> Schedule:
    return schedules.mirostat(target, rate=rate, version=version, temperature=temperature)


def _build_by_intent(context: BuildContext, intent: str) -> Schedule:
    return schedules.by_intent(intent)


def _build_latency(context: BuildContext, seconds: float, *, per_step: float = 0.05, per_row: float = 0.0) -> Schedule:
    return schedules.latency_budget(seconds, (per_step, per_row))


SCHEDULES: dict[str, Entry[Schedule]] = {
    "constant": Entry(_build_constant, "0.8"),
    "linear": Entry(_build_linear, '{"start": 1.2, "end": 0.4}'),
    "cosine": Entry(_build_cosine, '{"start": 1.2, "end": 0.4}'),
    "geometric": Entry(_build_geometric, '{"start": 1.5, "ratio": 0.95, "floor": 0.3}'),
    "logarithmic": Entry(_build_logarithmic, "1.0"),
    "by_position": Entry(_build_by_position, "[[0, 1.2], [20, 0.5]]"),
    "by_phase": Entry(_build_by_phase, '{"marker": "Answer:", "before": 1.0, "after": 0.3}'),
    "thermostat": Entry(_build_thermostat, '{"hold": "entropy", "target": 1.0}'),
    "mirostat": Entry(_build_mirostat, "3.0"),
    "by_intent": Entry(_build_by_intent, '"code"'),
    "latency": Entry(_build_latency, '{"seconds": 2.0, "per_step": 0.05}'),
}
"""Schedules by name."""
