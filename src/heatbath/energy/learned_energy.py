r"""A residual energy learned from preferred and rejected completions, linear in features.

A logistic regression separates preferred completions from rejected ones (the model's own samples, if that is the
distribution to change). Its log-odds are $-U$ up to the log-ratio of the counts, so the model weighted by $e^{-U}$ has
the distribution of the preferred completions: noise-contrastive estimation.

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
        preferred: number of preferred completions.
        rejected: number of rejected completions.
    """

    weights: tuple[float, ...]
    bias: float
    stderr: tuple[float, ...]
    l2: float
    preferred: int
    rejected: int


@dataclass(frozen=True)
class CalibrationTable:
    """A reliability table: per bin the mean probability, the share of preferred completions and their number.

    `chi2` is the Hosmer-Lemeshow statistic; on held-out completions its mean is about `len(counts)`.
    """

    predicted_probability: Floats
    observed_share: Floats
    counts: npt.NDArray[np.int64]
    chi2: float


class ResidualEnergy(Potential):
    r"""Energy $U(x) = -w \cdot f(x) - b$ of a completion, (B,), nats.

    `features` maps B completions, lists of tokens, to (B, d): counts, or the hidden states of a network. `fingerprint`
    identifies their source (a model's fingerprint, a version): a file written with one is not loaded with another.
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
        """Fit the energy that separates `preferred` from `rejected` completions (lists of tokens).

        `options` are those of the class. Raises `BadInput` for features of a wrong shape, an empty side, or sides that
        are linearly separable.
        """
        preferred_nd = _build_feature_matrix(features, preferred, "preferred")
        rejected_nd = _build_feature_matrix(features, rejected, "rejected")
        return cls(features, fit_logistic(preferred_nd, rejected_nd, l2=l2), **options)

    def __call__(self, context: Context) -> Floats:
        return -self.log_ratio([context.completion(row) for row in range(len(context))])

    def log_ratio(self, completions: Sequence[Sequence[int]]) -> Floats:
        r"""Return $\log p_{preferred}(x) / p_{rejected}(x) = -U(x)$ of each completion, (n,)."""
        matrix = _build_feature_matrix(self.features, completions, self.name)
        if matrix.shape[1] != len(self.regression.weights):
            raise BadInput(
                f"potential {self.name!r} was fitted on {len(self.regression.weights)} features, got {matrix.shape[1]}."
            )
        return np.asarray(matrix @ np.asarray(self.regression.weights) + self.regression.bias)

    def compute_calibration(
        self, preferred: Sequence[Sequence[int]], rejected: Sequence[Sequence[int]], *, bins: int = 10
    ) -> CalibrationTable:
        """Compare the predicted probability of "preferred" with its frequency on held-out completions."""
        offset = np.log(len(preferred) / len(rejected))
        log_odds = self.log_ratio([*preferred, *rejected]) + offset
        return build_calibration_table(_sigmoid(log_odds), np.repeat([1.0, 0.0], [len(preferred), len(rejected)]), bins)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fit as JSON, to a temporary file first, then in place."""
        target = Path(path)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        header = {"schema": SCHEMA, "name": self.name, "fingerprint": self.fingerprint}
        try:
            draft.write_text(json.dumps(header | asdict(self.regression), indent=1) + "\n", encoding="utf-8")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], features: Features, *, fingerprint: str = "", scores_prefixes: bool = False
    ) -> ResidualEnergy:
        """Load a file written by `save`. Raises `BadInput` for another schema or fingerprint, or a damaged file."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            fit = LogisticFit(
                weights=tuple(map(float, data["weights"])),
                bias=float(data["bias"]),
                stderr=tuple(map(float, data["stderr"])),
                l2=float(data["l2"]),
                preferred=int(data["preferred"]),
                rejected=int(data["rejected"]),
            )
            schema, stored_fingerprint, name = data["schema"], data["fingerprint"], data["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{path} is not a residual energy ({error}): use a file written by ResidualEnergy.save."
            ) from error
        if schema != SCHEMA:
            raise BadInput(f"{path} has the schema {schema!r}; this version reads {SCHEMA!r}.")
        if stored_fingerprint != fingerprint:
            raise BadInput(
                f"{path} was fitted on features {stored_fingerprint!r}, got {fingerprint!r}: use the same features."
            )
        return cls(features, fit, fingerprint=fingerprint, scores_prefixes=scores_prefixes, name=name)


def fit_logistic(preferred: Floats, rejected: Floats, *, l2: float = 0.0) -> LogisticFit:
    r"""Fit weights that minimize $\sum_n \log(1 + e^{-y_n \ell_n}) + \tfrac{\lambda}{2}|w|^2$; the bias has no prior.

    Args:
        preferred: features of preferred completions, (n, d).
        rejected: features of rejected completions, (m, d).
        l2: $\lambda$, in units of one over the square of each feature; 0 is maximum likelihood.

    Raises:
        BadInput: an empty side, l2 below 0, or linearly separable sides with l2 = 0.
    """
    if not len(preferred) or not len(rejected):
        raise BadInput(f"expected preferred and rejected completions, got {len(preferred)} and {len(rejected)}.")
    if not 0 <= l2 < np.inf:
        raise BadInput(f"`l2` must be finite and at least 0, got {l2}.")
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
        raise BadInput(
            "preferred and rejected completions are linearly separable, the weights diverge: set l2 above 0."
        )
    theta, converged = minimize_convex(loss, np.zeros(design.shape[1]))
    if not converged:
        raise BadInput("the logistic regression did not converge: rescale the features or increase l2.")
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
        error_probability = _sigmoid(-margin)
        value = float(np.logaddexp(0.0, -margin).sum() + 0.5 * self.prior @ theta**2)
        gradient = -self.design.T @ (self.label * error_probability) + self.prior * theta
        hessian = (self.design * (error_probability * (1 - error_probability))[:, None]).T @ self.design
        return value, gradient, hessian + np.diag(self.prior)


def build_calibration_table(probability: Floats, outcome: Floats, bins: int) -> CalibrationTable:
    """Compare predicted and observed shares in at most `bins` bins of about equal size.

    Raises `BadInput` for fewer probabilities than bins.
    """
    if not 1 <= bins <= len(probability):
        raise BadInput(f"`bins` must be from 1 to the number of completions, {len(probability)}, got {bins}.")
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
    """Return the fit in the original units of the features, their means absorbed in the bias."""
    l2, label = settings
    back = np.diag(1 / scale)
    back[-1] -= shift
    back[-1, -1] = 1.0
    values, errors = back @ theta, np.sqrt(np.diag(back @ covariance @ back.T))
    count = int((label > 0).sum())
    weights, stderr = tuple(values[:-1].tolist()), tuple(errors.tolist())
    return LogisticFit(weights, float(values[-1]), stderr, float(l2), count, len(label) - count)


def _build_feature_matrix(features: Features, completions: Sequence[Sequence[int]], label: str) -> Floats:
    values = features([list(completion) for completion in completions])
    matrix = np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values, np.float64)
    if matrix.ndim != 2 or len(matrix) != len(completions):
        raise BadInput(f"features of {label} completions must have shape ({len(completions)}, d), got {matrix.shape}.")
    if not np.isfinite(matrix).all():
        row = int(np.argwhere(~np.isfinite(matrix))[0][0])
        raise BadInput(f"features of {label} completion {row} must be finite, got NaN or an infinity.")
    return matrix


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -values)))
