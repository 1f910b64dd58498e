"""The drift of a prompt: a baseline that has moved by more than chance and a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

from heatbath.errors import BadInput
from heatbath.serve.stack.prompts.baseline import QUANTITIES, Baseline, BaselineValue

TOLERANCE = 0.02
"""The relative change that is no drift."""

FALSE_ALARMS = 0.01
"""The largest probability that a prompt which has not changed is said to have drifted, for all its values together."""

_ROUNDING = 1e-3
"""The change in nats that the order of sums may make between machines."""


@dataclass(frozen=True)
class Change:
    """The change of one value. `low` and `high` bound the difference: at the level of the test, or exactly.

    Attributes:
        part: "prompt" or "answer".
        allowed: the largest difference that is within the tolerance.
    """

    part: str
    quantity: str
    before: float
    after: float
    low: float
    high: float
    allowed: float

    @property
    def is_drift(self) -> bool:
        """True if the difference is beyond the tolerance, at the level of the test."""
        return self.low > self.allowed or self.high < -self.allowed


def compare_baselines(
    before: Baseline, after: Baseline, *, tolerance: float = TOLERANCE, false_alarms: float = FALSE_ALARMS
) -> list[Change]:
    """Return the change of each value.

    Values of the prompt involve no chance, and drift once they differ by more than `tolerance`, a share of the value
    before. Those of answers are compared by Welch's test, at a level of `false_alarms` divided by their number
    (Bonferroni): they drift if the whole interval of the difference is beyond the tolerance.

    Raises:
        BadInput: the two were measured with other settings, or a tolerance or rate that is none.
    """
    if before.settings != after.settings:
        raise BadInput("the baselines were measured with other settings: measure both with the same.")
    if not 0 <= tolerance < math.inf:
        raise BadInput(f"tolerance is {tolerance}: give a number from 0 up.", param="tolerance")
    if not 0 < false_alarms < 1:
        raise BadInput(f"false_alarms is {false_alarms}: give a number between 0 and 1.", param="false_alarms")
    level = false_alarms / len(QUANTITIES)
    changes = []
    for part, name in [(part, name) for part in ("prompt", "answer") for name in QUANTITIES]:
        old, new = (getattr(each, part)[name] for each in (before, after))
        half = _half_width(old, new, level) if part == "answer" else 0.0
        difference, allowed = new.value - old.value, tolerance * abs(old.value) + _ROUNDING
        changes.append(Change(part, name, old.value, new.value, difference - half, difference + half, allowed))
    return changes


def _half_width(old: BaselineValue, new: BaselineValue, level: float) -> float:
    """Return half the width of the interval of a difference, with the degrees of freedom of Welch."""
    parts = [each.stderr**2 for each in (old, new)]
    total = sum(parts)
    if total == 0:
        return 0.0
    shares = sum(part**2 / each.degrees for part, each in zip(parts, (old, new), strict=True))
    return float(stdtrit(total**2 / shares, 1 - level / 2)) * math.sqrt(total)
