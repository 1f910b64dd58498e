"""The verdicts of a calibration in words: as on top of its report and in the terminal."""

from __future__ import annotations

import math

from heatbath.pages.verdicts import ReportVerdict
from heatbath.trust.calibration.calibration_study import CalibrationStudy
from heatbath.trust.calibration.metric_summary import MetricValue
from heatbath.trust.calibration.signal_ranking import PairedDifference, RankedSignal

SIGNIFICANCE = 0.05
LOG_Z = "log_z"


def build_calibration_verdicts(study: CalibrationStudy) -> list[ReportVerdict]:
    """Return the verdicts: confidence, guarantee, best signal, and the claim about log Z."""
    return [_describe_confidence(study), _describe_guarantee(study), _describe_best(study), _describe_log_z(study)]


def format_metric(metric: MetricValue, digits: int = 3) -> str:
    """Format a metric with its interval."""
    if math.isnan(metric.value):
        return "none"
    if math.isnan(metric.low):
        return f"{metric.value:.{digits}f}"
    return f"{metric.value:.{digits}f} ({metric.low:.{digits}f} to {metric.high:.{digits}f})"


def format_difference(difference: PairedDifference) -> str:
    """Format a difference with its simultaneous interval and corrected p-value."""
    if difference.low == difference.high:
        return "0"
    p = "p < 0.001" if difference.p_value < 1e-3 else f"p = {difference.p_value:.3f}"
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}), {p}"


def _describe_confidence(study: CalibrationStudy) -> ReportVerdict:
    signals, fit = study.chosen
    error = study.held_out["ECE, equal mass"]
    return ReportVerdict(
        "curve",
        "Confidence",
        f"ECE {error.value:.3f}",
        f"{' and '.join(signals)} by {fit.replace('_', '-')}, chosen on {study.parts[0]} answers. On "
        f"{study.held_out.answers} held-out answers, {format_share(study.held_out.accuracy)} of them right, the ECE of "
        f"equal mass is {format_metric(error)} and the Brier score {format_metric(study.held_out['Brier'])}.",
    )


def format_share(share: MetricValue) -> str:
    """Format a share with its interval in percent."""
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _describe_guarantee(study: CalibrationStudy) -> ReportVerdict:
    guarantee, realised = study.guarantee, study.realised
    text = str(guarantee)
    reason = f"{text[:1].upper()}{text[1:]}; tested on {guarantee.questions} questions by the rule {guarantee.rule}. "
    if realised.answered:
        reason += f"On held-out questions {realised.wrong} of {realised.answered} answers are wrong, "
        reason += f"{format_share(realised.rate)}. "
    statement = "nothing is answered" if guarantee.threshold is None else f"answers {guarantee.coverage:.0%}"
    return ReportVerdict("use", "Guarantee", statement, reason + guarantee.assumption)


def _describe_best(study: CalibrationStudy) -> ReportVerdict:
    best = study.ranking.signals[0]
    others = [one for one in study.ranking.signals if one.column.name != study.ranking.reference]
    better = [one.column.name for one in others if one.against_reference.low > 0]
    against = (
        f"better than {study.ranking.reference}: {', '.join(better)}"
        if better
        else f"none is shown to be better than {study.ranking.reference}"
    )
    return ReportVerdict(
        "order",
        "Best signal",
        best.column.name,
        f"AUROC {best.auroc:.3f} ({best.low:.3f} to {best.high:.3f}) at a cost of {best.column.cost:g} tokens an "
        f"answer; of {len(study.ranking.signals)} signals, corrected for their number, {against}.",
    )


def _describe_log_z(study: CalibrationStudy) -> ReportVerdict:
    """Answer the claim that log Z is a signal of confidence, with the gauge control."""
    found = [one for one in study.ranking.signals if _base_name(one) == LOG_Z]
    if not found:
        return ReportVerdict("melt", "Is log Z a signal?", "not measured", "No log Z was among the signals.")
    best = max(found, key=lambda one: one.auroc)
    effect = next(one for one in study.gauge if one.name == best.column.name)
    is_signal = best.against_chance.p_value < SIGNIFICANCE and best.auroc > 0.5
    statement = "more than chance" if is_signal else "not shown"
    against = best.against_reference
    place = "better" if against.low > 0 else "worse" if against.high < 0 else "not shown to differ"
    than = "than" if place != "not shown to differ" else "from"
    reason = (
        f"Raw {best.column.name} has an AUROC of {best.auroc:.3f} ({best.low:.3f} to {best.high:.3f}) on held-out "
        f"answers, against chance {format_difference(best.against_chance)}, and is {place} {than} "
        f"{study.ranking.reference} ({format_difference(against)}). A random constant added to all energies of a "
        f"context changes no probability: on all answers it takes the AUROC of {best.column.name} from "
        f"{effect.auroc:.3f} to {effect.auroc_shifted:.3f}"
    )
    moved = [one.name for one in study.gauge if not one.is_as_stated]
    control = (
        f"; but {', '.join(moved)} moved too, which should not."
        if moved
        else ", and moves no signal that is said to be gauge-invariant."
    )
    return ReportVerdict("melt", "Is log Z a signal?", statement, reason + control)


def _base_name(signal: RankedSignal) -> str:
    return signal.column.name.partition(":")[0].partition("@")[0]
