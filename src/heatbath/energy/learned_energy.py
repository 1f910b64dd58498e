r"""A learned residual energy: what tells wanted answers from the model's own, linear in features.

Answers that were preferred and answers that were rejected (the model's own, if that is what should change) are told
apart by a logistic regression. With the model's law on both sides its log-odds are $-U$ up to the log-ratio of the
counts, so that the model weighed by $e^{-U}$ has the law of the preferred ones: noise-contrastive estimation.

Source: Gutmann & Hyvärinen 2010; Deng et al. 2020, arXiv:2004.11714, equation 3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Potential
from heatbath.energy.newton import has_unbounded_direction, minimize_convex
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
Features = Callable[[Sequence[Sequence[int]]], npt.ArrayLike]
SCHEMA = "heatbath.residual/1"


@dataclass(frozen=True)
class LogisticFit:
    """A fitted logistic regression: log-odds of "preferred" = weights · f + bias + log(preferred / rejected).

    Attributes:
        weights: (d,), nats per unit of each feature.
        bias: nats.
        stderr: standard errors of the weights and the bias, (d + 1,).
        l2: strength of the Gaussian prior on the weights.
        preferred: how many answers were preferred.
        rejected: how many were rejected.
    """

    weights: tuple[float, ...]
    bias: float
    stderr: tuple[float, ...]
    l2: float
    preferred: int
    rejected: int


@dataclass(frozen=True)
class CalibrationTable:
    """Whether probabilities came true: per bin the mean probability, the share of preferred answers, their number.

    `chi2` is the Hosmer-Lemeshow sum over the bins, its mean about `len(counts)` on answers that were not fitted on.
    """

    predicted_probability: Floats
    observed_share: Floats
    counts: npt.NDArray[np.int64]
    chi2: float


class ResidualEnergy(Potential):
    r"""Energy $U(x) = -w \cdot f(x) - b$ of an answer, (B,), nats.

    `features` map B answers, lists of tokens, to (B, d): hand-made counts, or a network's hidden states. `fingerprint`
    names what makes them (a model's fingerprint, a version): a file written with one is not read with another.
    """

    def __init__(
        self,
        features: Features,
        regression: LogisticFit,
        *,
        fingerprint: str = "",
        scores_prefixes: bool = False,
        name: str = "residual",
    ) -> None:
        self.features = features
        self.regression = regression
        self.fingerprint = fingerprint
        self.scores_prefixes = scores_prefixes
        self.name = name

    @classmethod
    def train(
        cls,
        features: Features,
        preferred: Sequence[Sequence[int]],
        rejected: Sequence[Sequence[int]],
        *,
        l2: float = 0.0,
        **options: Any,
    ) -> ResidualEnergy:
        """The residual that tells `preferred` from `rejected` answers (lists of tokens); `options` as for the class.

        Raises `BadInput` for features of a wrong shape, no answers on a side, or sides that a plane separates.
        """
        wanted, unwanted = (
            _build_feature_matrix(features, preferred, "preferred"),
            _build_feature_matrix(features, rejected, "rejected"),
        )
        return cls(features, fit_logistic(wanted, unwanted, l2=l2), **options)

    def __call__(self, context: Context) -> Floats:
        return -self.log_ratio([context.completion(row) for row in range(len(context))])

    def log_ratio(self, answers: Sequence[Sequence[int]]) -> Floats:
        r"""$\log p_{preferred}(x) / p_{rejected}(x) = -U(x)$ of each answer, (n,)."""
        matrix = _build_feature_matrix(self.features, answers, self.name)
        if matrix.shape[1] != len(self.regression.weights):
            raise BadInput(
                f"potential {self.name!r} was fitted on {len(self.regression.weights)} features and got {matrix.shape[1]}."
            )
        return np.asarray(matrix @ np.asarray(self.regression.weights) + self.regression.bias)

    def compute_calibration(
        self, preferred: Sequence[Sequence[int]], rejected: Sequence[Sequence[int]], *, bins: int = 10
    ) -> CalibrationTable:
        """How the probability of "preferred" came true on answers held back; see `calibrated`."""
        offset = np.log(len(preferred) / len(rejected))
        log_odds = self.log_ratio([*preferred, *rejected]) + offset
        return build_calibration_table(_sigmoid(log_odds), np.repeat([1.0, 0.0], [len(preferred), len(rejected)]), bins)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was fitted as JSON, aside first and then in place."""
        target = Path(path)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        about = {"schema": SCHEMA, "name": self.name, "fingerprint": self.fingerprint}
        try:
            draft.write_text(json.dumps(about | asdict(self.regression), indent=1) + "\n", encoding="utf-8")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], features: Features, *, fingerprint: str = "", scores_prefixes: bool = False
    ) -> ResidualEnergy:
        """Read what `save` wrote. Raises `BadInput` for another schema or fingerprint, or a damaged file."""
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
            fit = LogisticFit(
                weights=tuple(map(float, held["weights"])),
                bias=float(held["bias"]),
                stderr=tuple(map(float, held["stderr"])),
                l2=float(held["l2"]),
                preferred=int(held["preferred"]),
                rejected=int(held["rejected"]),
            )
            schema, written, name = held["schema"], held["fingerprint"], held["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} holds no residual energy ({error}): give what Residual.save wrote.") from error
        if schema != SCHEMA:
            raise BadInput(f"{path} has the schema {schema!r}, this version reads {SCHEMA!r}.")
        if written != fingerprint:
            raise BadInput(f"{path} was fitted on features {written!r}, not on {fingerprint!r}: give the same ones.")
        return cls(features, fit, fingerprint=fingerprint, scores_prefixes=scores_prefixes, name=name)


def fit_logistic(preferred: Floats, rejected: Floats, *, l2: float = 0.0) -> LogisticFit:
    r"""Weights least in $\sum_n \log(1 + e^{-y_n \ell_n}) + \tfrac{\lambda}{2}|w|^2$, the bias without a prior.

    Args:
        preferred: features of preferred answers, (n, d).
        rejected: features of rejected answers, (m, d).
        l2: $\lambda$, in units of one over each feature's square; 0 is maximum likelihood.

    Raises:
        BadInput: a side without answers, l2 below 0, or sides that a plane separates where l2 is 0.
    """
    if not len(preferred) or not len(rejected):
        raise BadInput(f"{len(preferred)} preferred and {len(rejected)} rejected answers: give some of both.")
    if not 0 <= l2 < np.inf:
        raise BadInput(f"l2 is {l2}: give a number from 0 up.")
    matrix = np.vstack([preferred, rejected])
    scale = np.append(matrix.std(0), 1.0)
    scale[scale <= 1e-12 * np.append(np.abs(matrix).max(0), 1.0)] = 1.0
    center = np.append(matrix.mean(0), 0.0)
    design = (np.column_stack([matrix, np.ones(len(matrix))]) - center) / scale
    label = np.repeat([1.0, -1.0], [len(preferred), len(rejected)])
    loss = _LogisticLoss(
        design, label, float(np.log(len(preferred) / len(rejected))), np.append(l2 / scale[:-1] ** 2, 0.0)
    )
    if l2 == 0 and has_unbounded_direction(-label[:, None] * design):
        raise BadInput("a plane separates preferred from rejected answers, no finite weights do best: give l2 above 0.")
    theta, found = minimize_convex(loss, np.zeros(design.shape[1]))
    if not found:
        raise BadInput("the regression did not settle: give features of less unequal sizes, or a larger l2.")
    return _rescale_fit(
        theta, np.asarray(np.linalg.pinv(loss(theta)[2], hermitian=True)), center / scale, scale, (l2, label)
    )


@dataclass(frozen=True)
class _LogisticLoss:
    """Minus the log-posterior of a logistic regression with labels ±1, its gradient and its Hessian."""

    design: Floats
    label: Floats
    offset: float
    prior: Floats

    def __call__(self, theta: Floats) -> tuple[float, Floats, Floats]:
        margin = self.label * (self.design @ theta + self.offset)
        wrong = _sigmoid(-margin)
        value = float(np.logaddexp(0.0, -margin).sum() + 0.5 * self.prior @ theta**2)
        gradient = -self.design.T @ (self.label * wrong) + self.prior * theta
        hessian = (self.design * (wrong * (1 - wrong))[:, None]).T @ self.design + np.diag(self.prior)
        return value, gradient, hessian


def build_calibration_table(probability: Floats, outcome: Floats, bins: int) -> CalibrationTable:
    """Predicted and observed shares in at most `bins` bins of about equal size.

    Raises `BadInput` for fewer answers than bins.
    """
    if not 1 <= bins <= len(probability):
        raise BadInput(f"{bins} bins of {len(probability)} answers: give from 1 to as many bins as answers.")
    below = np.searchsorted(np.sort(probability), probability)
    number = below * bins // len(probability)  # equal probabilities share a bin, or their order would decide
    parts = [np.flatnonzero(number == n) for n in np.unique(number)]
    predicted = np.array([probability[part].mean() for part in parts])
    observed = np.array([outcome[part].mean() for part in parts])
    counts = np.array([len(part) for part in parts])
    variance = np.array([(probability[part] * (1 - probability[part])).sum() for part in parts])
    off = (counts * (observed - predicted)) ** 2
    return CalibrationTable(predicted, observed, counts, float((off / np.maximum(variance, 1e-300)).sum()))


def _rescale_fit(
    theta: Floats, covariance: Floats, shift: Floats, scale: Floats, settings: tuple[float, Floats]
) -> LogisticFit:
    """Back to the features' own units; the bias takes up their means."""
    l2, label = settings
    back = np.diag(1 / scale)
    back[-1] -= shift
    back[-1, -1] = 1.0
    values, errors = back @ theta, np.sqrt(np.diag(back @ covariance @ back.T))
    count = int((label > 0).sum())
    weights, stderr = tuple(values[:-1].tolist()), tuple(errors.tolist())
    return LogisticFit(weights, float(values[-1]), stderr, float(l2), count, len(label) - count)


def _build_feature_matrix(features: Features, answers: Sequence[Sequence[int]], what: str) -> Floats:
    values = features([list(answer) for answer in answers])
    matrix = np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values, np.float64)
    if matrix.ndim != 2 or len(matrix) != len(answers):
        raise BadInput(f"features of {what} answers have shape {matrix.shape}: give ({len(answers)}, d).")
    if not np.isfinite(matrix).all():
        row = int(np.argwhere(~np.isfinite(matrix))[0][0])
        raise BadInput(f"features of {what} answer {row} hold NaN or an infinity: give finite numbers.")
    return matrix


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -values)))
