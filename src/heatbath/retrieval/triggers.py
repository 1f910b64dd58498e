"""The decision whether documents are searched for at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from heatbath.errors import BadInput

TriggerKind = Literal["always", "never", "uncertainty", "random"]


@dataclass(frozen=True)
class Trigger:
    """A rule of when to search: always, never, where a signal of a first draft says so, or at random.

    Attributes:
        signal: the signal of an uncertainty trigger; the draft is uncertain where its value, larger for wrong answers,
            is above `threshold`.
        rate: the share of requests that a random trigger searches for.
    """

    kind: TriggerKind = "always"
    signal: str = "surprisal:mean"
    threshold: float | None = None
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.kind == "uncertainty" and self.threshold is None:
            raise BadInput("an uncertainty trigger needs a threshold: give the value of the signal.", param="threshold")
        if not 0 <= self.rate <= 1:
            raise BadInput(f"the rate of a trigger must be from 0 to 1, got {self.rate}.", param="rate")

    @property
    def needs_draft(self) -> bool:
        """True if an answer without documents comes first."""
        return self.kind == "uncertainty"

    def fires(self, *, value: float | None = None, seed: int = 0) -> bool:
        """Return whether to search; `value` is that of the signal, larger where the draft is less certain.

        Raises:
            BadInput: an uncertainty trigger without a value.
        """
        if self.kind == "uncertainty":
            if value is None or self.threshold is None:
                raise BadInput("an uncertainty trigger needs the value of its signal.", param="value")
            return not value <= self.threshold  # a draft whose signal is NaN is uncertain
        if self.kind == "random":
            return bool(np.random.default_rng(seed).random() < self.rate)
        return self.kind == "always"
