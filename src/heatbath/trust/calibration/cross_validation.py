"""The choice of signal, aggregation and fit by cross-validation, and nested cross-validation of the whole choice.

Everything is chosen on the answers that are given: the outer folds of the nested one repeat the whole choice without
the answers that they predict, so that its metrics are those of a calibrator that has not seen them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heatbath.errors import BadInput
from heatbath.trust.calibration.base import Fit
from heatbath.trust.calibration.fits import FITS, find_fit, takes_scores
from heatbath.trust.calibration.ranking_metrics import area_under_roc
from heatbath.trust.calibration.signal_table import Floats, SignalTable, validate_both_labels
from heatbath.trust.calibration.splits import assign_folds

FOLDS = 5
NUM_FINALISTS = 4
"""Signals that all fits are tried on: those of the largest AUROC."""


@dataclass(frozen=True)
class FitChoice:
    """The choices that are tried: the signals (() for all of them) and the names of the fits."""

    signals: tuple[str, ...] = ()
    fits: tuple[str, ...] = tuple(FITS)
    folds: int = FOLDS

    def __post_init__(self) -> None:
        for name in self.fits:
            find_fit(name)
        if not self.fits or self.folds < 2:
            raise BadInput(f"expected at least one fit and two folds, got {len(self.fits)} and {self.folds}.")


@dataclass(frozen=True)
class Candidate:
    """Signals with a fit, and its cross-validated Brier score with the standard error over answers."""

    signals: tuple[str, ...]
    fit: str
    brier: float
    stderr: float


@dataclass(frozen=True)
class ChosenFit:
    """The candidate of the smallest Brier score, fitted to all answers; `candidates` are all that were tried."""

    signals: tuple[str, ...]
    fit: Fit
    candidates: tuple[Candidate, ...]

    def predict(self, table: SignalTable) -> Floats:
        """Return the probability of a right answer, (n,)."""
        return self.fit.predict(select_scores(table, self.signals))


def select_scores(table: SignalTable, names: Sequence[str]) -> Floats:
    """Return signals whose larger values mean right answers, (n, s)."""
    return np.stack([table.scores(name) for name in names], axis=1)


def choose_aggregations(table: SignalTable) -> list[str]:
    """Return the names of signals by falling AUROC, of each signal only the aggregation with the largest."""
    areas = {name: area_under_roc(table.scores(name), table.labels) for name in table.names}
    best: dict[str, str] = {}
    for name in sorted(areas, key=lambda one: -areas[one]):
        best.setdefault(name.partition(":")[0], name)
    return list(best.values())


def choose_fit(table: SignalTable, choice: FitChoice | None = None, *, seed: int = 0) -> ChosenFit:
    """Choose signal, aggregation and fit by cross-validation on a table, and fit the choice to all of it.

    First the aggregation of each signal by AUROC; then of the best signals, alone and together, the fit with the
    smallest cross-validated Brier score, which unlike the NLL is finite for every fit.

    Raises:
        BadInput: answers of one kind only, too few answers, no fit that takes any of the signals.
    """
    choice = choice or FitChoice()
    validate_both_labels(table.labels, "a calibration")
    fewest = int(np.bincount(table.labels, minlength=2).min())
    if fewest < choice.folds:
        raise BadInput(
            f"cross-validation in {choice.folds} folds needs at least {choice.folds} right and {choice.folds} wrong "
            f"answers, got {fewest} of one kind: give more questions."
        )
    allowed = table.select(choice.signals) if choice.signals else table
    finalists = choose_aggregations(allowed)[:NUM_FINALISTS]
    sets = [(name,) for name in finalists] + ([tuple(finalists)] if len(finalists) > 1 else [])
    fold_n = assign_folds(table.units, table.labels, choice.folds, seed)
    candidates = [
        _score_candidate(allowed, names, fit, fold_n)
        for names in sets
        for fit in choice.fits
        if takes_scores(fit, select_scores(allowed, names))
    ]
    if not candidates:
        raise BadInput(
            f"none of the fits {', '.join(choice.fits)} takes the signals {', '.join(finalists)}: "
            "add platt to the fits."
        )
    best = min(candidates, key=lambda one: one.brier)
    fit = FITS[best.fit].build(select_scores(allowed, best.signals), allowed.labels)
    return ChosenFit(best.signals, fit, tuple(sorted(candidates, key=lambda one: one.brier)))


def _score_candidate(table: SignalTable, names: tuple[str, ...], fit: str, fold_n: np.ndarray) -> Candidate:
    scores_ns = select_scores(table, names)
    predicted_n = np.empty(len(table))
    for fold in np.unique(fold_n).tolist():
        inside = fold_n == fold
        predicted_n[inside] = FITS[fit].build(scores_ns[~inside], table.labels[~inside]).predict(scores_ns[inside])
    loss_n = (predicted_n - table.labels) ** 2
    return Candidate(names, fit, float(loss_n.mean()), float(loss_n.std(ddof=1) / np.sqrt(len(loss_n))))


@dataclass(frozen=True)
class NestedPrediction:
    """The probability of each answer by a choice made without its fold, and what each fold chose."""

    probabilities: Floats
    choices: tuple[tuple[str, ...], ...]


def predict_nested(table: SignalTable, choice: FitChoice | None = None, *, seed: int = 0) -> NestedPrediction:
    """Predict every answer of a table by nested cross-validation.

    Raises:
        BadInput: as in `choose_fit`.
    """
    choice = choice or FitChoice()
    fold_n = assign_folds(table.units, table.labels, choice.folds, seed + 1)
    predicted_n, chosen = np.empty(len(table)), []
    for fold in range(choice.folds):
        inside = fold_n == fold
        found = choose_fit(table.take(~inside), choice, seed=seed)
        predicted_n[inside] = found.predict(table.take(inside))
        chosen.append((*found.signals, found.candidates[0].fit))
    return NestedPrediction(predicted_n, tuple(chosen))
