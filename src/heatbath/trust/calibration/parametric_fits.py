"""Fits with a few parameters: temperature, Platt scaling, beta calibration, and logistic on several signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from heatbath.errors import BadInput
from heatbath.trust.calibration.base import (
    Fit,
    fit_logistic_regression,
    log_odds_terms,
    prepare_scores,
    require_domain,
)
from heatbath.trust.calibration.signal_table import Floats, Ints, validate_both_labels

TEMPERATURE_RANGE = (1e-3, 1e3)
"""Temperatures among which that of a fit is found; the end of the range if the signal says nothing."""
PENALTY_STRENGTH = 1.0
"""Inverse of the L2 penalty of the logistic fit, on coefficients of standardised signals."""


@dataclass(frozen=True)
class TemperatureFit(Fit):
    """The log-odds of a probability divided by a temperature. Source: Guo et al. 2017."""

    temperature: float
    domain: str

    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""
        log_p, log_rest = log_odds_terms(scores_ns[:, 0], self.domain)
        return np.asarray(expit((log_p - log_rest) / self.temperature))


def fit_temperature(scores_ns: Floats, labels_n: Ints) -> TemperatureFit:
    """Return the temperature of the smallest NLL.

    Raises:
        BadInput: the signal is no probability or log-probability; labels of one kind only.
    """
    scores_n = prepare_scores(scores_ns, labels_n)
    domain = require_domain(scores_n, "temperature")
    log_p, log_rest = log_odds_terms(scores_n, domain)
    margin_n = (log_p - log_rest) * np.where(labels_n == 1, 1.0, -1.0)

    def mean_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -margin_n * np.exp(-log_temperature)).mean())

    found = minimize_scalar(mean_loss, bounds=tuple(np.log(TEMPERATURE_RANGE)), options={"xatol": 1e-9})
    return TemperatureFit(float(np.exp(found.x)), domain)


@dataclass(frozen=True)
class PlattFit(Fit):
    """A logistic function of the signal."""

    slope: float
    intercept: float

    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""
        return np.asarray(expit(self.slope * scores_ns[:, 0] + self.intercept))


def fit_platt(scores_ns: Floats, labels_n: Ints) -> PlattFit:
    """Return the logistic function of the largest likelihood for the smoothed targets of Platt 1999.

    These are (r + 1)/(r + 2) for the r right answers and 1/(w + 2) for the w wrong ones, so that a signal that parts
    them without an error still has a finite slope.

    Raises:
        BadInput: labels of one kind only.
    """
    prepare_scores(scores_ns, labels_n)
    right = int(labels_n.sum())
    targets_n = np.where(labels_n == 1, (right + 1) / (right + 2), 1 / (len(labels_n) - right + 2))
    slope_s, intercept = fit_logistic_regression(scores_ns, targets_n)
    return PlattFit(slope_s[0], intercept)


@dataclass(frozen=True)
class BetaFit(Fit):
    """Log-odds of a ln p - b ln(1 - p) + c. Source: Kull, Silva Filho and Flach 2017."""

    a: float
    b: float
    c: float
    domain: str

    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""
        log_p, log_rest = log_odds_terms(scores_ns[:, 0], self.domain)
        # A coefficient of zero leaves its term out, where the term is infinite too.
        rising = self.a * log_p if self.a else np.zeros_like(log_p)
        falling = self.b * log_rest if self.b else np.zeros_like(log_rest)
        return np.asarray(expit(rising - falling + self.c))


def fit_beta(scores_ns: Floats, labels_n: Ints) -> BetaFit:
    """Return the beta calibration of the largest likelihood with a, b >= 0; a negative one is set to 0 and refitted.

    Raises:
        BadInput: the signal is no probability or log-probability; labels of one kind only.
    """
    scores_n = prepare_scores(scores_ns, labels_n)
    domain = require_domain(scores_n, "beta")
    log_p, log_rest = log_odds_terms(scores_n, domain)
    features_ns, targets_n = np.stack([log_p, -log_rest], 1), labels_n.astype(np.float64)
    kept = [0, 1]
    while True:
        # A faint penalty keeps the slope finite where the signal parts right from wrong without an error.
        slope_s, intercept = fit_logistic_regression(features_ns[:, kept], targets_n, strength=1e4)
        negative = [column for column, slope in zip(kept, slope_s, strict=True) if slope < 0]
        if not negative:
            break
        kept = [column for column in kept if column not in negative]
        if not kept:
            return BetaFit(0.0, 0.0, float(np.log(targets_n.mean() / (1 - targets_n.mean()))), domain)
    slopes = dict(zip(kept, slope_s, strict=True))
    return BetaFit(slopes.get(0, 0.0), slopes.get(1, 0.0), intercept, domain)


@dataclass(frozen=True)
class RegressionFit(Fit):
    """A logistic function of several signals."""

    coefficients: tuple[float, ...]
    intercept: float

    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""
        if scores_ns.shape[1] != len(self.coefficients):
            raise BadInput(f"expected {len(self.coefficients)} signals, got {scores_ns.shape[1]}.")
        return np.asarray(expit(scores_ns @ np.array(self.coefficients) + self.intercept))


def fit_logistic(scores_ns: Floats, labels_n: Ints) -> RegressionFit:
    """Return the logistic function of several signals with an L2 penalty on standardised coefficients.

    Raises:
        BadInput: labels of one kind only.
    """
    validate_both_labels(labels_n, "a fit")
    return RegressionFit(*fit_logistic_regression(scores_ns, labels_n.astype(np.float64), PENALTY_STRENGTH))
