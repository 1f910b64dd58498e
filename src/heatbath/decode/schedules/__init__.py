"""Schedules: temperature as a function of step and state."""

from heatbath.decode.schedules.base import Schedule
from heatbath.decode.schedules.crossings import crossings
from heatbath.decode.schedules.feedback import Feedback, Mirostat
from heatbath.decode.schedules.intents import INTENTS, Intent, by_intent
from heatbath.decode.schedules.latency import LatencyBudget, Plan, latency_budget
from heatbath.decode.schedules.phases import ByPhase, by_phase
from heatbath.decode.schedules.ramps import ByPlace, by_position, constant, cosine, geometric, linear, logarithmic
from heatbath.decode.schedules.solved import Solved
from heatbath.decode.schedules.thermostat import mirostat, thermostat

__all__ = [
    "INTENTS",
    "ByPhase",
    "ByPlace",
    "Feedback",
    "Intent",
    "LatencyBudget",
    "Mirostat",
    "Plan",
    "Schedule",
    "Solved",
    "by_intent",
    "by_phase",
    "by_position",
    "constant",
    "cosine",
    "crossings",
    "geometric",
    "latency_budget",
    "linear",
    "logarithmic",
    "mirostat",
    "thermostat",
]
