"""The rule from the probabilities of labels to a decision: their level, sets of labels, and abstention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.errors import BadInput, format_value
from heatbath.trust.decisions.conformal_sets import conformal_threshold, select_labels, validate_error_rate
from heatbath.trust.decisions.decision import LabelDecision
from heatbath.trust.decisions.fit_file import DecisionFit
from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import Level
from heatbath.trust.decisions.questions import DecisionQuestion


@dataclass(frozen=True)
class DecisionRule:
    """The use that is made of probabilities.

    Attributes:
        level: their level.
        fit: what they are corrected by, or None.
        alpha: error rate of a set of labels, or None.
        threshold: greatest score of a label in the set, in place of one from held-out texts.
        abstain_below: least probability of an answer that is given, or None.
        tokenizations: those that the probabilities are of.
    """

    level: Level
    fit: DecisionFit | None = None
    alpha: float | None = None
    threshold: float | None = None
    abstain_below: float | None = None
    tokenizations: Tokenizations = "canonical"

    def __post_init__(self) -> None:
        if self.alpha is not None:
            validate_error_rate(self.alpha)
        for name, value in (("threshold", self.threshold), ("abstain_below", self.abstain_below)):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 <= value <= 1):
                raise BadInput(f"`{name}` must be from 0 to 1, got {format_value(value)}.", param=name)
        if self.alpha is not None and self.threshold is not None:
            raise BadInput("give `alpha` or `threshold`, not both.", param="threshold")
        if self.fit is not None:
            self.fit.validate_level(self.level)
        elif self.level in ("temperature", "head"):
            raise BadInput(
                f"the level {self.level} needs a fit: make one with `heatbath decide fit` or `fit_decisions`, and give "
                "it in place of the question.",
                param="level",
            )

    def find_threshold(self) -> float | None:
        """Return the threshold of the sets of labels, None where no set is asked for."""
        if self.alpha is None:
            return self.threshold
        scores = (self.fit.held_out_scores or {}).get(self.level) if self.fit else None
        if scores is None:
            raise BadInput(
                f"a set of labels at the level {self.level} needs held-out texts: fit with `held_out`, or give "
                "`threshold`.",
                param="alpha",
            )
        return conformal_threshold(scores, self.alpha)

    def decide(
        self, question: DecisionQuestion, probabilities: Sequence[float], *, mass: float, num_orders: int
    ) -> LabelDecision:
        """Return the decision for one text from the probabilities of its labels."""
        threshold = self.find_threshold()
        labels = None if threshold is None else select_labels(probabilities, threshold)
        is_corrected = self.fit is not None and self.level in ("order", "temperature")
        return LabelDecision(
            kind=question.kind,
            labels=question.labels,
            probabilities=tuple(probabilities),
            label_mass=mass,
            level=self.level,
            num_orders=num_orders,
            has_prior=bool(is_corrected and self.fit and self.fit.offsets),
            temperature=self.find_temperature(),
            tokenizations=self.tokenizations,
            alpha=self.alpha,
            label_set=None if labels is None else tuple(question.labels[label] for label in labels),
            threshold=threshold,
            abstains=None if self.abstain_below is None else max(probabilities) < self.abstain_below,
        )

    def find_temperature(self) -> float | None:
        """Return the temperature of the level, None for one without."""
        if self.fit is None or self.level in ("raw", "order"):
            return None
        return self.fit.head.temperature if self.level == "head" and self.fit.head else self.fit.temperature
