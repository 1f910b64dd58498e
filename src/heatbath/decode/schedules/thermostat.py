"""A number held at a target while the text goes on."""

from __future__ import annotations

import numpy as np

from heatbath.decode.schedules.base import Schedule, validate_temperature
from heatbath.decode.schedules.entropy_target import QuantityTargetSchedule
from heatbath.decode.schedules.feedback import MirostatSchedule, SurprisalFeedback
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput

HOLD_QUANTITIES = ("entropy", "heat_capacity", "surprisal", "mirostat", "mirostat_v1")


def thermostat(
    hold: str, target: float, *, gain: float | None = None, temperature_range: tuple[float, float] = (0.05, 3.0)
) -> Schedule:
    """Holds a number, in nats, at `target`, at temperatures `between` two.

    "entropy" and "heat_capacity" of the next token's distribution are solved for at every step (`Solved`: T = 0 below
    the colder temperature). "surprisal" is held on average by `Feedback` with `gain` 0.1. "mirostat" (version 2) and
    "mirostat_v1" hold it by truncation, with `gain` 1 and T = 1 (`Mirostat`; targets in the paper are in bits, which
    are 0.693 nats). Raises BadInput for another `hold`, a target or gain that is not positive and finite, and
    temperatures that do not rise from above 0.
    """
    if hold not in HOLD_QUANTITIES:
        raise BadInput(f"a thermostat cannot hold {hold!r}: choose from {', '.join(HOLD_QUANTITIES)}.")
    _validate_positive("the target of a thermostat", target)
    coldest = validate_temperature("the colder temperature", temperature_range[0], positive=True)
    hottest = validate_temperature("the hotter temperature", temperature_range[1], positive=True)
    if not coldest < hottest:
        raise BadInput(f"a thermostat between {coldest:g} and {hottest:g} has no room: let the second be higher.")
    if hold in ("entropy", "heat_capacity"):
        return QuantityTargetSchedule(hold, target, coldest, hottest)
    if hold == "surprisal":
        rate = _validate_positive("the gain", 0.1 if gain is None else gain)
        return SurprisalFeedback(target, rate, min(max(1.0, coldest), hottest), coldest, hottest)
    return mirostat(target, rate=1.0 if gain is None else gain, version=1 if hold == "mirostat_v1" else 2)


def mirostat(target: float, *, rate: float = 1.0, version: int = 2, temperature: float = 1.0) -> MirostatSchedule:
    """The schedule `Mirostat` with a mean surprise of `target` nats. Raises BadInput for settings out of range.

    Source: Basu et al. 2020, arXiv:2007.14966.
    """
    if version not in (1, 2):
        raise BadInput(f"mirostat has no version {version}: give 1 or 2.")
    _validate_positive("the target of mirostat", target)
    _validate_positive("the rate of mirostat", rate)
    if not 0 <= temperature < np.inf:
        raise BadInput(f"the temperature of mirostat is {temperature}: give a finite temperature of 0 or more.")
    return MirostatSchedule(float(target), float(rate), version, float(temperature))


def _validate_positive(name: str, value: float) -> float:
    if not 0 < value < np.inf:
        raise BadInput(f"{name} is {value}: give a finite number above 0.")
    return float(value)


def _build_thermostat(context: BuildContext, hold: str, target: float, *, gain: float | None = None) -> Schedule:
    return thermostat(hold, target, gain=gain)


SPECS = (
    Spec("thermostat", "schedule", _build_thermostat, '{"hold": "entropy", "target": 1.0}', order=80),
    Spec("mirostat", "schedule", mirostat, "3.0", order=90, takes_context=False),
)
