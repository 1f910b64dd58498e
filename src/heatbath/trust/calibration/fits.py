"""The fits by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heatbath.errors import BadInput, suggest_name
from heatbath.record.result_file import build_dataclass, to_builtins
from heatbath.trust.calibration.base import Fit, find_domain
from heatbath.trust.calibration.parametric_fits import (
    BetaFit,
    PlattFit,
    RegressionFit,
    TemperatureFit,
    fit_beta,
    fit_logistic,
    fit_platt,
    fit_temperature,
)
from heatbath.trust.calibration.signal_table import Floats, Ints
from heatbath.trust.calibration.step_fits import (
    HistogramFit,
    IsotonicFit,
    VennAbersFit,
    fit_histogram,
    fit_isotonic,
    fit_venn_abers,
)


@dataclass(frozen=True)
class FitMethod:
    """A way of fitting.

    Attributes:
        build: the function of scores (n, s) and labels (n,) that fits.
        fit_type: the class of its result.
        needs_probability: true if the signal must be a probability or a log-probability.
        takes_several: true if it combines several signals.
    """

    build: Callable[[Floats, Ints], Fit]
    fit_type: type[Any]
    needs_probability: bool = False
    takes_several: bool = False


FITS: Mapping[str, FitMethod] = {
    "platt": FitMethod(fit_platt, PlattFit),
    "temperature": FitMethod(fit_temperature, TemperatureFit, needs_probability=True),
    "beta": FitMethod(fit_beta, BetaFit, needs_probability=True),
    "histogram": FitMethod(fit_histogram, HistogramFit),
    "isotonic": FitMethod(fit_isotonic, IsotonicFit),
    "venn_abers": FitMethod(fit_venn_abers, VennAbersFit),
    "logistic": FitMethod(fit_logistic, RegressionFit, takes_several=True),
}
"""Fits by name; of equally good ones the first is chosen."""


def find_fit(name: str) -> FitMethod:
    """Return a fit by its name.

    Raises:
        BadInput: there is no such fit.
    """
    if name not in FITS:
        raise BadInput(f"`fit` must be one of {', '.join(FITS)}, got {name!r}{suggest_name(name, FITS)}.")
    return FITS[name]


def takes_scores(name: str, scores_ns: Floats) -> bool:
    """Return true if a fit can be used with scores of this range and number of signals."""
    method = find_fit(name)
    if method.takes_several or scores_ns.shape[1] != 1:
        return method.takes_several and scores_ns.shape[1] > 1
    return not method.needs_probability or find_domain(scores_ns[:, 0]) is not None


def name_fit(fit: Fit) -> str:
    """Return the name of a fit."""
    return next(name for name, method in FITS.items() if method.fit_type is type(fit))


def dump_fit(fit: Fit) -> dict[str, Any]:
    """Convert a fit to JSON values."""
    return {"name": name_fit(fit), "parameters": to_builtins(fit)}


def parse_fit(content: Any) -> Fit:
    """Build a fit from its JSON values.

    Raises:
        BadInput: there is no such fit.
        TypeError, ValueError, KeyError: the values are not those of the fit.
    """
    fit: Fit = build_dataclass(find_fit(content["name"]).fit_type, content["parameters"])
    return fit
