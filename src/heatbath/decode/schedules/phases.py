"""Explore, then commit: one temperature before a marker has appeared in the answer, another after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.decode.schedules.base import Floats, Memoryless, temperature
from heatbath.energy.base import Context
from heatbath.errors import BadInput


@dataclass(frozen=True)
class ByPhase(Memoryless):
    """`before` until the answer holds the tokens `marker` in a row, `after` from the next token on."""

    marker: tuple[int, ...]
    before: float
    after: float

    def temperatures(self, context: Context, energies: Any, memory: Floats) -> Floats:
        seen = [_holds(list(context.answer(row)), self.marker) for row in range(len(context))]
        return np.where(np.asarray(seen, bool), self.after, self.before)


def by_phase(marker: Sequence[int], *, before: float, after: float) -> ByPhase:
    """The schedule `ByPhase`. Raises BadInput for an empty marker and for temperatures below 0."""
    if not len(marker):
        raise BadInput("the marker of a phase is empty: give the tokens that end it.")
    hot, cold = temperature("the temperature before the marker", before), temperature("that after the marker", after)
    return ByPhase(tuple(int(token) for token in marker), hot, cold)


def _holds(answer: list[int], marker: tuple[int, ...]) -> bool:
    at = -1
    for _ in range(answer.count(marker[0])):
        at = answer.index(marker[0], at + 1)
        if tuple(answer[at : at + len(marker)]) == marker:
            return True
    return False
