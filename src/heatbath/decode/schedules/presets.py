"""Preset temperatures and windows by the intent of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Schedule
from heatbath.decode.windows import Window, min_p, top_p
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput, suggest_name


@dataclass(frozen=True)
class IntentSchedule(Schedule):
    """One temperature and its windows; `rationale` gives the source of the values."""

    temperature: float
    truncation_windows: tuple[Window, ...]
    rationale: str

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        return np.full(len(context), self.temperature)

    def windows(self, memory: Floats) -> Sequence[Window]:
        return self.truncation_windows


INTENTS: Mapping[str, IntentSchedule] = MappingProxyType(
    {
        "extract": IntentSchedule(0.0, (), "one right answer, in the text: the ground state"),
        "classify": IntentSchedule(0.0, (), "one right answer: the ground state"),
        "translate": IntentSchedule(0.2, (top_p(0.95),), "few right answers; what is improbable is wrong"),
        "code": IntentSchedule(0.2, (top_p(0.95),), "one attempt: Chen et al. 2021, arXiv:2107.03374, figure 5"),
        "code_attempts": IntentSchedule(0.8, (top_p(0.95),), "a hundred attempts, one must pass: the same figure"),
        "summarize": IntentSchedule(0.3, (top_p(0.95),), "faithful, with some choice of words"),
        "reason": IntentSchedule(0.6, (top_p(0.95),), "DeepSeek-R1, arXiv:2501.12948, section 3"),
        "answer": IntentSchedule(0.7, (min_p(0.05),), "a voice of its own, no wild tokens"),
        "converse": IntentSchedule(0.8, (min_p(0.05),), "varied, no wild tokens"),
        "brainstorm": IntentSchedule(
            1.0, (min_p(0.05),), "the model's own spread: Nguyen et al. 2024, arXiv:2407.01082"
        ),
        "story": IntentSchedule(1.2, (min_p(0.1),), "hot, held together by min-p: the same"),
        "sample": IntentSchedule(1.0, (), "the model's own distribution, nothing cut"),
    }
)
"""Starting points; a phase map of the model gives better values."""


def by_intent(intent: str, table: Mapping[str, IntentSchedule] = INTENTS) -> IntentSchedule:
    """Return the schedule of an intent. Raises `BadInput` for an unknown one."""
    if intent in table:
        return table[intent]
    suggestion = suggest_name(intent, table, cutoff=0.0)
    raise BadInput(f"unknown intent {intent!r}{suggestion}: choose from {', '.join(table)}.", param="intent")


def _build_by_intent(context: BuildContext, intent: str) -> Schedule:
    return by_intent(intent)


SPEC = Spec("by_intent", "schedule", _build_by_intent, '"code"', order=100)
