"""Schedules: temperature as a function of step and state."""

from heatbath.decode.schedules.base import Budget, Schedule
from heatbath.decode.schedules.edge_crossings import find_edge_crossings
from heatbath.decode.schedules.entropy_target import QuantityTargetSchedule
from heatbath.decode.schedules.feedback import MirostatSchedule, SurprisalFeedback
from heatbath.decode.schedules.latency import LatencyBudget, latency_budget
from heatbath.decode.schedules.presets import INTENTS, IntentSchedule, by_intent
from heatbath.decode.schedules.ramps import (
    PositionSchedule,
    by_position,
    constant,
    cosine,
    geometric,
    linear,
    logarithmic,
)
from heatbath.decode.schedules.switch_on_marker import MarkerSchedule, by_phase
from heatbath.decode.schedules.thermostat import mirostat, thermostat

__all__ = [
    "INTENTS",
    "Budget",
    "IntentSchedule",
    "LatencyBudget",
    "MarkerSchedule",
    "MirostatSchedule",
    "PositionSchedule",
    "QuantityTargetSchedule",
    "Schedule",
    "SurprisalFeedback",
    "by_intent",
    "by_phase",
    "by_position",
    "constant",
    "cosine",
    "find_edge_crossings",
    "geometric",
    "latency_budget",
    "linear",
    "logarithmic",
    "mirostat",
    "thermostat",
]
