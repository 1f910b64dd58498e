"""A schedule with one temperature before a marker has been generated, and another after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Schedule, validate_temperature
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput


@dataclass(frozen=True)
class MarkerSchedule(Schedule):
    """The temperature `before` until the completion contains the tokens `marker`, `after` from the next token on."""

    marker: tuple[int, ...]
    before: float
    after: float

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        is_after = [_contains_marker(list(context.completion(row)), self.marker) for row in range(len(context))]
        return np.where(np.asarray(is_after, bool), self.after, self.before)


def by_phase(marker: Sequence[int], *, before: float, after: float) -> MarkerSchedule:
    """Return a `MarkerSchedule`. Raises `BadInput` for an empty marker and for temperatures below 0."""
    if not len(marker):
        raise BadInput("`marker` must have at least one token, got none.", param="marker")
    first = validate_temperature("the temperature before the marker", before)
    second = validate_temperature("the temperature after the marker", after)
    return MarkerSchedule(tuple(int(token) for token in marker), first, second)


def _contains_marker(completion: list[int], marker: tuple[int, ...]) -> bool:
    at = -1
    for _ in range(completion.count(marker[0])):
        at = completion.index(marker[0], at + 1)
        if tuple(completion[at : at + len(marker)]) == marker:
            return True
    return False


def _build_by_phase(context: BuildContext, marker: str, before: float, after: float) -> Schedule:
    return by_phase(context.model.encode(marker), before=before, after=after)


SPEC = Spec("by_phase", "schedule", _build_by_phase, '{"marker": "Answer:", "before": 1.0, "after": 0.3}', order=70)
