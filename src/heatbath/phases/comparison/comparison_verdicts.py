"""The verdicts of a comparison in words, as on top of its page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatbath.estimate.paired_differences import Difference
from heatbath.pages.verdicts import ReportVerdict
from heatbath.phases.comparison.comparison_data import ComparisonData, DifferenceCurve, EdgeDifference, TextComparison
from heatbath.phases.report.verdicts import to_sentence

NO_DIFFERENCE = "no difference found"
_EDGE_TITLES = {"freeze": "Freezing edge, B − A", "melt": "Melting edge, B − A", "order": "End of order, B − A"}


def build_comparison_verdicts(comparison: ComparisonData) -> list[ReportVerdict]:
    """Build the verdicts: next-token distributions, observables, edges, and how alike the pairs are."""
    verdicts = [] if comparison.texts is None else [_text_verdict(comparison.texts)]
    verdicts.append(_curve_verdict(comparison.curves))
    verdicts += [_edge_verdict(edge) for edge in comparison.edges]
    if comparison.pairing is not None:
        identical = float(comparison.pairing.identical.mean())
        common = float(comparison.pairing.common_tokens.mean())
        statement = f"{identical:.0%} of pairs identical"
        reason = f"{comparison.pairing.pairs:,} pairs; a pair agrees for its first {common:.0f} tokens on average."
        verdicts.append(ReportVerdict("turn", "Pairs", statement, reason))
    return verdicts


def format_difference(value: float | None, low: float, high: float) -> str:
    """Format a difference with its 95 % interval, to two digits of the width of the latter; signs are explicit."""
    width = high - low
    places = 2
    if np.isfinite(width) and width > 0:
        places = int(np.clip(1 - np.floor(np.log10(width)), 0, 12))
    elif np.isfinite(width) and value:
        return f"{value:+.4g} exactly"
    elif width == 0:
        return "0 exactly"
    span = f"{_format_signed(low, places)} to {_format_signed(high, places)}"
    return span if value is None else f"{_format_signed(value, places)} ({span})"


def _format_signed(value: float, places: int) -> str:
    text = f"{value:+.{places}f}".replace("-", "−")
    return text[1:] if not float(text.replace("−", "-")) else text


def differing_temperatures(curve: DifferenceCurve) -> str:
    """Return the temperatures at which a curve differs, tested together, in words."""
    found = curve.temperature[curve.significant_mask]
    if not len(found):
        return NO_DIFFERENCE
    if len(found) == len(curve.temperature):
        return "at every temperature"
    return f"at T = {', '.join(f'{t:.2f}' for t in found)}"


def _text_verdict(texts: TextComparison) -> ReportVerdict:
    names = [one.name for one in texts.quantities]
    head = next(name for name in ("Jensen-Shannon divergence", "log-probability per byte") if name in names)
    found = texts[head]
    sign = head == "log-probability per byte"
    statement = format_quantity(found, signed=sign) + (" nats a byte" if sign else " nats a token")
    title = "Log-probability of a text, B − A" if sign else "Next-token distributions"
    place = f"on {texts.texts} shared texts of {texts.tokens:,} tokens at T = {texts.temperature:g}"
    if sign:
        return ReportVerdict(
            "use", title, statement, f"Given {place}; the vocabularies differ, so tokens are not compared."
        )
    if found.value == 0:
        return ReportVerdict("use", title, "the same", f"Both give every token the same probability {place}.")
    other = texts["other most likely token"].value
    reason = f"Jensen-Shannon divergence {place}; {other:.1%} of tokens have another most likely next token."
    return ReportVerdict("use", title, statement, reason)


def format_quantity(difference: Difference, *, signed: bool) -> str:
    """Format a mean over the shared texts with its interval."""
    words = format_difference(difference.value, difference.low, difference.high)
    return words if signed else words.replace("+", "")


def _curve_verdict(curves: Sequence[DifferenceCurve]) -> ReportVerdict:
    differing = [curve for curve in curves if curve.significant_mask.any()]
    reason = "At each temperature, all temperatures of an observable tested together at 5 %."
    if not differing:
        return ReportVerdict("order", "Observables", NO_DIFFERENCE, reason)
    names = ", ".join(curve.name for curve in differing)
    return ReportVerdict(
        "order", "Observables", f"{len(differing)} of {len(curves)} differ", f"{to_sentence(names)} {reason}"
    )


def _edge_verdict(edge: EdgeDifference) -> ReportVerdict:
    title = _EDGE_TITLES[edge.name]
    if edge.interval is None:
        return ReportVerdict(edge.name, title, "not comparable", to_sentence(edge.verdict))
    statement = format_difference(edge.difference, *edge.interval)
    if edge.interval[0] <= 0 <= edge.interval[1]:
        return ReportVerdict(edge.name, title, statement, f"No difference found. {to_sentence(edge.verdict)}")
    return ReportVerdict(edge.name, title, statement, to_sentence(edge.verdict))
