"""Schedules that keep a quantity at a target: `thermostat` and `mirostat`."""

from __future__ import annotations

import numpy as np

from heatbath.decode.schedules.base import Schedule, validate_temperature
from heatbath.decode.schedules.entropy_target import QuantityTargetSchedule
from heatbath.decode.schedules.feedback import MirostatSchedule, SurprisalFeedback
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput, format_value

HOLD_QUANTITIES = ("entropy", "heat_capacity", "surprisal", "mirostat", "mirostat_v1")


def thermostat(
    hold: str, target: float, *, gain: float | None = None, temperature_range: tuple[float, float] = (0.05, 3.0)
) -> Schedule:
    """Return a schedule that keeps the quantity `hold`, in nats, at `target`, within `temperature_range`.

    "entropy" and "heat_capacity" of the next token's distribution are solved for at every step
    (`QuantityTargetSchedule`: T = 0 below the lower temperature). "surprisal" is kept on average by
    `SurprisalFeedback` with `gain` 0.1. "mirostat" (version 2) and "mirostat_v1" use truncation, with `gain` 1 and
    T = 1 (`MirostatSchedule`; targets in the paper are in bits, which are 0.693 nats). Raises `BadInput` for another
    `hold`, a target or gain that is not positive and finite, and a range that does not increase from above 0.
    """
    if hold not in HOLD_QUANTITIES:
        raise BadInput(f"`hold` must be one of {', '.join(HOLD_QUANTITIES)}, got {format_value(hold)}.", param="hold")
    _validate_positive("the target of a thermostat", target)
    coldest = validate_temperature("the lower temperature", temperature_range[0], positive=True)
    hottest = validate_temperature("the upper temperature", temperature_range[1], positive=True)
    if not coldest < hottest:
        raise BadInput(f"`temperature_range` must increase, got ({coldest:g}, {hottest:g}).", param="temperature_range")
    if hold in ("entropy", "heat_capacity"):
        return QuantityTargetSchedule(hold, target, coldest, hottest)
    if hold == "surprisal":
        rate = _validate_positive("the gain", 0.1 if gain is None else gain)
        return SurprisalFeedback(target, rate, min(max(1.0, coldest), hottest), coldest, hottest)
    return mirostat(target, rate=1.0 if gain is None else gain, version=1 if hold == "mirostat_v1" else 2)


def mirostat(target: float, *, rate: float = 1.0, version: int = 2, temperature: float = 1.0) -> MirostatSchedule:
    """Return a `MirostatSchedule` with a mean surprisal of `target` nats. Raises `BadInput` for invalid settings.

    Source: Basu et al. 2020, arXiv:2007.14966.
    """
    if version not in (1, 2):
        raise BadInput(f"the version of mirostat must be 1 or 2, got {version}.", param="version")
    _validate_positive("the target of mirostat", target)
    _validate_positive("the rate of mirostat", rate)
    if not 0 <= temperature < np.inf:
        raise BadInput(f"the temperature of mirostat must be finite and 0 or greater, got {temperature}.")
    return MirostatSchedule(float(target), float(rate), version, float(temperature))


def _validate_positive(name: str, value: float) -> float:
    if not 0 < value < np.inf:
        raise BadInput(f"{name} must be finite and greater than 0, got {value}.")
    return float(value)


def _build_thermostat(context: BuildContext, hold: str, target: float, *, gain: float | None = None) -> Schedule:
    return thermostat(hold, target, gain=gain)


SPECS = (
    Spec("thermostat", "schedule", _build_thermostat, '{"hold": "entropy", "target": 1.0}', order=80),
    Spec("mirostat", "schedule", mirostat, "3.0", order=90, takes_context=False),
)
