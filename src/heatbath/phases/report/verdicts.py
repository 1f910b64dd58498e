"""A phase map in plain words: the verdict that a report and the terminal begin with."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.phases.advice import BestTemperature
from heatbath.phases.critical import Criticality
from heatbath.phases.edges import Edge
from heatbath.phases.phase_map_data import PhaseMapData

NO_EDGE = "no edge found"

_EDGE_TEXTS = {
    "freeze": ("Freezes below", "Colder than this, texts run into loops."),
    "melt": ("Melts above", "Hotter than this, texts lose their coherence."),
    "order": ("Order ends at", "Above this temperature tags are no longer correlated over the whole text."),
}


@dataclass(frozen=True)
class Verdict:
    """One line of the verdict: its `kind` (freeze, use, melt, order, best or turn), what it says, and why."""

    kind: str
    title: str
    statement: str
    reason: str


def build_verdicts(map_: PhaseMapData) -> list[Verdict]:
    """Freeze, recommended range, melt; then order, the best temperatures and the peer's, where there are any."""
    edges = {edge.name: edge for edge in map_.edges}
    said = [_edge_verdict(edges["freeze"]), _range_verdict(map_), _edge_verdict(edges["melt"])]
    said += [_edge_verdict(edge) for name, edge in edges.items() if name not in ("freeze", "melt")]
    return [*said, *map(_best_verdict, map_.advice.best), _turn_verdict(map_.turn)]


def format_interval(interval: tuple[float, float]) -> str:
    """An interval of temperatures."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def format_temperature(temperature: float | None, interval: tuple[float, float] | None) -> str:
    """A temperature with its 95 % interval."""
    if temperature is None:
        return "not found"
    return f"T = {temperature:.2f} ({format_interval(interval) if interval else 'no interval'})"


def _edge_verdict(edge: Edge) -> Verdict:
    title, about = _EDGE_TEXTS[edge.name]
    if edge.temperature is None:
        return Verdict(edge.name, title, NO_EDGE, to_sentence(edge.verdict))
    return Verdict(
        edge.name, title, format_temperature(edge.temperature, edge.interval), f"{about} {to_sentence(edge.verdict)}"
    )


def _range_verdict(map_: PhaseMapData) -> Verdict:
    interval = map_.advice.range
    said = "no range to recommend" if interval is None else f"T = {format_interval(interval)}"
    return Verdict("use", "Recommended", said, to_sentence(map_.advice.reason))


def _best_verdict(best: BestTemperature) -> Verdict:
    accuracy = max(best.accuracy)
    why = f"Right in {accuracy:.0%} at best; from {format_interval(best.interval)} nothing is told apart from it."
    return Verdict("best", f"Best for {best.way}", format_temperature(best.temperature, best.interval), why)


def _turn_verdict(turn: EdgeEstimate) -> Verdict:
    peer = "The entropy turning point of Du et al. 2025 (arXiv 2502.05234), a peer to compare with."
    said = "no turning point found" if turn.temperature is None else format_temperature(turn.temperature, turn.interval)
    return Verdict("turn", "TURN says", said, f"{peer} {to_sentence(turn.reason)}")


def describe_mixture(criticality: Criticality) -> str:
    """What the control for a mixture of unlike texts says."""
    if criticality.mixture:
        return (
            "τ grows with N at every temperature, while fluctuations within each text do not: the growth comes from "
            "texts that differ from one another for good (language, topic), not from order within a text."
        )
    return (
        "Growth of τ at every temperature, with none within the texts, would point to a mixture of unlike texts "
        "(language, topic) instead of order; that is not what was found here."
    )


def format_with_error(value: float, half_width: float) -> str:
    """A number with half the width of its band, to two digits of the latter."""
    if not half_width > 0:
        return f"{value:.3g}"
    places = max(0, 1 - math.floor(math.log10(half_width)))
    return f"{value:.{places}f} ± {half_width:.{places}f}"


def to_sentence(text: str) -> str:
    """A clause as a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def replace_control_characters(text: str) -> str:
    """The text with control characters replaced by visible signs; line breaks and tabs stay."""
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\N{REPLACEMENT CHARACTER}"
