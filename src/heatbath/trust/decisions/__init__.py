"""Decisions: questions about a text, and the probabilities of the labels that answer them, at a stated level.

    hb.decide(model, "Which team?", ["billing", "shipping"], text="Where is my parcel?")   raw
    fit = fit_decisions(model, build_question(…), DecisionData(pool, labeled, held_out))    order, temperature, head
    hb.decide(model, fit, text=[…], alpha=0.1)                                               with sets of labels

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.trust.decisions.decision import LabelDecision
    from heatbath.trust.decisions.decision_api import LevelSupport, check_levels, decide
    from heatbath.trust.decisions.fit_file import DecisionFit, load_decision_fit
    from heatbath.trust.decisions.fitting import DecisionData, fit_decisions
    from heatbath.trust.decisions.questions import DecisionQuestion, build_question

_HOME = {
    "LabelDecision": "decision",
    "DecisionData": "fitting",
    "DecisionFit": "fit_file",
    "DecisionQuestion": "questions",
    "LevelSupport": "decision_api",
    "build_question": "questions",
    "check_levels": "decision_api",
    "decide": "decision_api",
    "fit_decisions": "fitting",
    "load_decision_fit": "fit_file",
}

__all__ = [
    "DecisionData",
    "DecisionFit",
    "DecisionQuestion",
    "LabelDecision",
    "LevelSupport",
    "build_question",
    "check_levels",
    "decide",
    "fit_decisions",
    "load_decision_fit",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"heatbath.trust.decisions.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
