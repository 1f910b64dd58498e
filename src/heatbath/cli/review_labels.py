"""Labels from the decisions of reviewers, and what they say of all answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heatbath.errors import Unreliable
from heatbath.policy.review import SYSTEM_REVIEWERS

if TYPE_CHECKING:
    from heatbath.estimate.estimate import Estimate

Label = dict[str, Any]
_COPIED = ("id", "request", "choice", "model", "endpoint", "rules", "confidence")


def build_labels(decided: Sequence[dict[str, Any]]) -> list[Label]:
    """Return a label for each item that a person decided, the newest first.

    `selection` is the probability that an answer like it got a label: that of being sent, times the share of items
    sent with this probability that a person decided. Items that nobody decided in time have no label.
    """
    sent = Counter(item["probability"] for item in decided)
    by_people = [item for item in decided if item["decision"]["reviewer"] not in SYSTEM_REVIEWERS]
    labeled = Counter(item["probability"] for item in by_people)
    return [_build_label(item, labeled[item["probability"]] / sent[item["probability"]]) for item in by_people]


def _build_label(item: dict[str, Any], decided_share: float) -> Label:
    decision, probability = item["decision"], item["probability"]
    return {
        **{name: item[name] for name in _COPIED},
        "correct": decision["action"] == "approve",
        "action": decision["action"],
        "reviewer": decision["reviewer"],
        "reason": decision["reason"],
        "decided_at": decision["decided_at"],
        "probability": probability,
        "selection": probability * decided_share,
    }


def estimate_reliability(labels: Sequence[Label]) -> dict[str, Any]:
    """Return accuracy and calibration error of all answers, as numbers and as sentences, ready for JSON.

    Where labels do not support an estimate, a sentence says so, and the number is null.
    """
    found: dict[str, Any] = {"labels": len(labels), "accuracy": None, "calibration_error": None, "sentences": []}
    if not labels:
        return found
    from heatbath.trust.calibration.selected_labels import estimate_accuracy, estimate_calibration_error

    if all(label["rules"] for label in labels):
        found["sentences"].append(
            "no label is of an answer that was drawn at random: these are figures of answers that rules sent, not of "
            "all; set review.random_share."
        )
    measured = [label for label in labels if label["confidence"] is not None]

    def columns(rows: Sequence[Label], *names: str) -> list[list[Any]]:
        return [[row[name] for row in rows] for name in names]

    accuracy = estimate_accuracy(*columns(labels, "correct", "selection"))
    _add_estimate(found, "accuracy", accuracy)
    if measured:
        error = estimate_calibration_error(*columns(measured, "confidence", "correct", "selection"))
        _add_estimate(found, "calibration_error", error)
    return found


def _add_estimate(found: dict[str, Any], name: str, estimate: Estimate) -> None:
    """Add a reliable estimate to what was found, else the reason why it is none."""
    words = name.replace("_", " ")
    try:
        estimate.require_reliable()
    except Unreliable as error:
        found["sentences"].append(f"{words}: {error}")
    else:
        found[name] = {"value": estimate.value, "stderr": estimate.stderr, "ess": estimate.ess}
        found["sentences"].append(f"{words} {estimate} ({estimate.ess:.0f} effective labels)")
