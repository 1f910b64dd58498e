"""The answer to a question, with the level that it was given at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import Level
from heatbath.trust.decisions.questions import Kind


@dataclass(frozen=True)
class LabelDecision:
    """Probabilities of the labels of a question for one text.

    Attributes:
        kind: the kind of question.
        labels: the labels, in the order in which they were given.
        probabilities: the probability of each label among them.
        label_mass: total probability of the labels in the model, the mean over the orders that were read.
        level: the level of the probabilities.
        num_orders: number of orders of the options that were read.
        has_prior: whether an offset for each label, fitted to texts without labels, was added.
        temperature: the fitted temperature, or None.
        tokenizations: "canonical" (each label as the tokenizer encodes it) or "all".
        alpha: the error rate of `label_set`, or None.
        label_set: the labels of the conformal set, or None where no set was asked for.
        bound: the greatest score of a label in the set; inf where too few held-out texts bound nothing.
        abstains: whether the greatest probability is below the least that was asked for; None if none was.
    """

    kind: Kind
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    label_mass: float
    level: Level
    num_orders: int
    has_prior: bool = False
    temperature: float | None = None
    tokenizations: Tokenizations = "canonical"
    alpha: float | None = None
    label_set: tuple[str, ...] | None = None
    bound: float | None = None
    abstains: bool | None = None

    @property
    def label(self) -> str:
        """The most probable label, the first of several."""
        return self.labels[self.probabilities.index(self.confidence)]

    @property
    def confidence(self) -> float:
        """The greatest probability."""
        return max(self.probabilities)

    @property
    def score(self) -> float | None:
        """The mean level, counted from 0, of a question of kind "score"; else None."""
        if self.kind != "score":
            return None
        return math.fsum(level * probability for level, probability in enumerate(self.probabilities))

    def summary(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        optional = {
            "score": self.score,
            "temperature": self.temperature,
            "alpha": self.alpha,
            "label_set": None if self.label_set is None else list(self.label_set),
            "bound": None if self.bound in (None, math.inf) else self.bound,
            "abstain": self.abstains,
        }
        return {
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(zip(self.labels, self.probabilities, strict=True)),
            "label_mass": self.label_mass,
            "level": self.level,
            "num_orders": self.num_orders,
            "has_prior": self.has_prior,
            "tokenizations": self.tokenizations,
            **{name: value for name, value in optional.items() if value is not None},
        }
