"""The verdicts of a phase map in words, as on top of the report and in the terminal, and the format of its numbers."""

from __future__ import annotations

import math

from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.pages.verdicts import ReportVerdict
from heatbath.phases.advice import BestTemperature
from heatbath.phases.critical import Criticality
from heatbath.phases.edges import Edge
from heatbath.phases.phase_map_data import PhaseMapData

NO_EDGE = "no edge found"
Z_95 = 1.96
"""Half the width of a 95 % band, in standard errors."""

DISAGREEMENT = "estimators disagree"

_EDGE_TEXTS = {
    "freeze": ("Freezes below", "Freezes between", "Below {}, texts run into loops."),
    "melt": ("Melts above", "Melts between", "Above {}, texts lose their coherence."),
    "order": ("Order ends at", "Order ends between", "Above {}, tags are no longer correlated over the whole text."),
}


def build_verdicts(map_: PhaseMapData) -> list[ReportVerdict]:
    """Build the verdicts: freeze, recommended range and melt, then order, the best temperatures, and TURN."""
    edges = {edge.name: edge for edge in map_.edges}
    verdicts = [_edge_verdict(edges["freeze"]), _range_verdict(map_), _edge_verdict(edges["melt"])]
    verdicts += [_edge_verdict(edge) for name, edge in edges.items() if name not in ("freeze", "melt")]
    return [*verdicts, *map(_best_verdict, map_.advice.best), _turn_verdict(map_.turn)]


def format_interval(interval: tuple[float, float]) -> str:
    """Format an interval of temperatures."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def format_temperature(temperature: float | None, interval: tuple[float, float] | None) -> str:
    """Format a temperature with its 95 % interval."""
    if temperature is None:
        return "not found"
    return f"T = {temperature:.2f} ({format_interval(interval) if interval else 'no interval'})"


def _edge_verdict(edge: Edge) -> ReportVerdict:
    title, title_between, meaning = _EDGE_TEXTS[edge.name]
    if edge.interval is None:
        return ReportVerdict(edge.name, title, NO_EDGE, to_sentence(edge.verdict))
    if edge.temperature is None:
        reason = f"{meaning.format('a temperature in this interval')} {_describe_disagreement(edge)}"
        return ReportVerdict(edge.name, title_between, format_disagreement(edge.interval), reason)
    statement = format_temperature(edge.temperature, edge.interval)
    return ReportVerdict(
        edge.name, title, statement, f"{meaning.format('this temperature')} {to_sentence(edge.verdict)}"
    )


def format_disagreement(interval: tuple[float, float]) -> str:
    """Format the interval of an edge whose estimators disagree, which has no temperature."""
    return f"{interval[0]:.2f} and {interval[1]:.2f} ({DISAGREEMENT})"


def _describe_disagreement(edge: Edge) -> str:
    each = (f"{one.name}: {format_interval(one.interval)}" for one in edge.estimators if one.interval is not None)
    return to_sentence(f"the estimators disagree ({'; '.join(each)})")


def _range_verdict(map_: PhaseMapData) -> ReportVerdict:
    interval = map_.advice.range
    statement = "no range to recommend" if interval is None else f"T = {format_interval(interval)}"
    return ReportVerdict("use", "Recommended", statement, to_sentence(map_.advice.reason))


def _best_verdict(best: BestTemperature) -> ReportVerdict:
    accuracy = max(best.accuracy)
    reason = f"Accuracy {accuracy:.0%}; not significantly different from {format_interval(best.interval)}."
    return ReportVerdict("best", f"Best for {best.way}", format_temperature(best.temperature, best.interval), reason)


def _turn_verdict(turn: EdgeEstimate) -> ReportVerdict:
    source = "The entropy turning point of Du et al. 2025 (arXiv 2502.05234), a baseline to compare with."
    statement = "no turning point found"
    if turn.temperature is not None:
        statement = format_temperature(turn.temperature, turn.interval)
    return ReportVerdict("turn", "TURN", statement, f"{source} {to_sentence(turn.reason)}")


def describe_mixture(criticality: Criticality) -> str:
    """Describe the result of the control for a mixture of unlike texts."""
    if criticality.mixture:
        return (
            "τ grows with N at every temperature, but the fluctuations within each text do not: the growth comes from "
            "permanent differences between texts (language, topic), not from order within a text."
        )
    return (
        "Growth of τ at every temperature, without growth within the texts, would indicate a mixture of unlike texts "
        "(language, topic) instead of order; this was not found here."
    )


def format_with_error(value: float, half_width: float) -> str:
    """Format a number with half the width of its band, to two digits of the latter."""
    if not half_width > 0:
        return f"{value:.3g}"
    places = max(0, 1 - math.floor(math.log10(half_width)))
    return f"{value:.{places}f} ± {half_width:.{places}f}"


def format_with_band(value: float, low: float, high: float) -> str:
    """Format a number with its band: as ± where the band is symmetric, else with both ends."""
    half_width = 0.5 * (high - low)
    if not half_width > 0 or abs(0.5 * (high + low) - value) <= 0.05 * half_width:
        return format_with_error(value, half_width)
    places = max(0, 1 - math.floor(math.log10(half_width)))
    return f"{value:.{places}f} ({low:.{places}f} to {high:.{places}f})"


def to_sentence(text: str) -> str:
    """Capitalize a clause, and end it with a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
