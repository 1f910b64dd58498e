"""Calibration: from signals to the probability of being right, with metrics, guarantees, a report and a file.

    table = SignalTable(columns, values, labels)      signals and labels, without a model
    rank_signals(table), choose_fit(table)            the ranking, and the choice by cross-validation
    select_answers(p, labels, thresholds=…)           a threshold with a guaranteed error rate
    find_conformal_bound(scores, alpha)               sets of answers with a guaranteed coverage
    select_route(first, second, routes)               two models under one guaranteed error rate
    estimate_accuracy(labels, selection)              of all answers, from labels of those that a rule or chance picked
    calibrate(model, data), load_calibrator(path)     all of it for a model, and its file

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.trust.calibration.answer_collection import AnswerPlan
    from heatbath.trust.calibration.answer_selection import ErrorTarget, SelectionGuarantee, select_answers
    from heatbath.trust.calibration.calibration_data import CalibrationData, read_calibration_data
    from heatbath.trust.calibration.calibration_run import calibrate
    from heatbath.trust.calibration.calibration_study import StudyPlan
    from heatbath.trust.calibration.calibrator import Calibrator, load_calibrator
    from heatbath.trust.calibration.conformal_sets import ConformalBound, find_conformal_bound
    from heatbath.trust.calibration.cross_validation import FitChoice, choose_fit, predict_nested
    from heatbath.trust.calibration.metric_summary import summarize_metrics
    from heatbath.trust.calibration.model_routing import choose_routes, select_route
    from heatbath.trust.calibration.ranking_metrics import (
        area_under_risk_coverage,
        area_under_roc,
        prediction_rejection_ratio,
        risk_coverage,
    )
    from heatbath.trust.calibration.reliability import (
        brier_score,
        calibration_error,
        negative_log_likelihood,
        reliability_bins,
    )
    from heatbath.trust.calibration.selected_labels import estimate_accuracy, estimate_calibration_error
    from heatbath.trust.calibration.signal_ranking import rank_signals
    from heatbath.trust.calibration.signal_table import SignalDescription, SignalTable

_LAZY_IMPORTS = {
    "AnswerPlan": "answer_collection",
    "CalibrationData": "calibration_data",
    "Calibrator": "calibrator",
    "ConformalBound": "conformal_sets",
    "ErrorTarget": "answer_selection",
    "FitChoice": "cross_validation",
    "SelectionGuarantee": "answer_selection",
    "SignalDescription": "signal_table",
    "SignalTable": "signal_table",
    "StudyPlan": "calibration_study",
    "area_under_risk_coverage": "ranking_metrics",
    "area_under_roc": "ranking_metrics",
    "brier_score": "reliability",
    "calibrate": "calibration_run",
    "calibration_error": "reliability",
    "choose_fit": "cross_validation",
    "choose_routes": "model_routing",
    "estimate_accuracy": "selected_labels",
    "estimate_calibration_error": "selected_labels",
    "find_conformal_bound": "conformal_sets",
    "load_calibrator": "calibrator",
    "negative_log_likelihood": "reliability",
    "predict_nested": "cross_validation",
    "prediction_rejection_ratio": "ranking_metrics",
    "rank_signals": "signal_ranking",
    "read_calibration_data": "calibration_data",
    "reliability_bins": "reliability",
    "risk_coverage": "ranking_metrics",
    "select_answers": "answer_selection",
    "select_route": "model_routing",
    "summarize_metrics": "metric_summary",
}

__all__ = [
    "AnswerPlan",
    "CalibrationData",
    "Calibrator",
    "ConformalBound",
    "ErrorTarget",
    "FitChoice",
    "SelectionGuarantee",
    "SignalDescription",
    "SignalTable",
    "StudyPlan",
    "area_under_risk_coverage",
    "area_under_roc",
    "brier_score",
    "calibrate",
    "calibration_error",
    "choose_fit",
    "choose_routes",
    "estimate_accuracy",
    "estimate_calibration_error",
    "find_conformal_bound",
    "load_calibrator",
    "negative_log_likelihood",
    "predict_nested",
    "prediction_rejection_ratio",
    "rank_signals",
    "read_calibration_data",
    "reliability_bins",
    "risk_coverage",
    "select_answers",
    "select_route",
    "summarize_metrics",
]


def __getattr__(name: str) -> Any:
    """Import the module of a name on first access (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'heatbath.trust.calibration' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.trust.calibration.{_LAZY_IMPORTS[name]}"), name)
