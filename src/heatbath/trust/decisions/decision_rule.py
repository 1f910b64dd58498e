"""The rule from the probabilities of labels to a decision: their level, sets of labels, and abstention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput, format_value
from heatbath.trust.calibration.conformal_sets import find_conformal_bound, parse_alpha
from heatbath.trust.decisions.decision import LabelDecision
from heatbath.trust.decisions.fit_file import DecisionFit
from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import Level
from heatbath.trust.decisions.questions import DecisionQuestion

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DecisionRule:
    """The use that is made of probabilities.

    Attributes:
        level: their level.
        fit: what they are corrected by, or None.
        alpha: error rate of a set of labels, or None.
        bound: greatest score of a label in the set, in place of one from held-out texts.
        abstain_below: least probability of an answer that is given, or None.
        tokenizations: those that the probabilities are of.
    """

    level: Level
    fit: DecisionFit | None = None
    alpha: float | None = None
    bound: float | None = None
    abstain_below: float | None = None
    tokenizations: Tokenizations = "canonical"

    def __post_init__(self) -> None:
        if self.alpha is not None:
            parse_alpha(self.alpha)
        for name, value in (("bound", self.bound), ("abstain_below", self.abstain_below)):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 <= value <= 1):
                raise BadInput(f"`{name}` must be from 0 to 1, got {format_value(value)}.", param=name)
        if self.alpha is not None and self.bound is not None:
            raise BadInput("give `alpha` or `bound`, not both.", param="bound")
        if self.fit is not None:
            self.fit.validate_level(self.level)
        elif self.level in ("temperature", "head"):
            raise BadInput(
                f"the level {self.level} needs a fit: make one with `heatbath decide fit` or `fit_decisions`, and give "
                "it in place of the question.",
                param="level",
            )

    def find_bound(self) -> float | None:
        """Return the greatest score of a label in the set, None where no set is asked for."""
        if self.alpha is None:
            return self.bound
        scores = (self.fit.held_out_scores or {}).get(self.level) if self.fit else None
        if scores is None:
            raise BadInput(
                f"a set of labels at the level {self.level} needs held-out texts: fit with `held_out`, or give "
                "`bound`.",
                param="alpha",
            )
        return find_conformal_bound(scores, self.alpha).bound

    def decide(
        self, question: DecisionQuestion, probabilities: Sequence[float], *, mass: float, num_orders: int
    ) -> LabelDecision:
        """Return the decision for one text from the probabilities of its labels."""
        bound = self.find_bound()
        labels = None if bound is None else select_labels(probabilities, bound)
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
            bound=bound,
            abstains=None if self.abstain_below is None else max(probabilities) < self.abstain_below,
        )

    def find_temperature(self) -> float | None:
        """Return the temperature of the level, None for one without."""
        if self.fit is None or self.level in ("raw", "order"):
            return None
        return self.fit.head.temperature if self.level == "head" and self.fit.head else self.fit.temperature


def score_right_labels(probabilities: Floats, answers: Ints) -> tuple[float, ...]:
    """Return the scores of held-out texts for conformal sets, 1 - p of the right label, in order of size.

    `probabilities` (n, K) are those of their labels, `answers` (n,) the numbers of the right ones.
    """
    scores = 1 - probabilities[np.arange(len(answers)), answers]
    return tuple(np.sort(scores).tolist())


def select_labels(probabilities: Sequence[float], bound: float) -> tuple[int, ...]:
    """Return the labels of a conformal set, those with a score 1 - p up to the bound, by number.

    It may be empty: no label is as probable as the right one mostly is.
    """
    return tuple(label for label, probability in enumerate(probabilities) if 1 - probability <= bound)
