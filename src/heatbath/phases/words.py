"""A phase map in plain words: the verdict that a report and the terminal begin with."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from heatbath.estimate.finite_size import Located
from heatbath.phases.advice import Best
from heatbath.phases.critical import Criticality
from heatbath.phases.edges import Edge
from heatbath.phases.phasemap import PhaseMap

NO_EDGE = "no edge found"

_ABOUT = {
    "freeze": ("Freezes below", "Colder than this, texts run into loops."),
    "melt": ("Melts above", "Hotter than this, texts lose their coherence."),
    "order": ("Order ends at", "Above this temperature tags are no longer correlated over the whole text."),
}


@dataclass(frozen=True)
class Verdict:
    """One line of the verdict: its `kind` (freeze, use, melt, order, best or turn), what it says, and why."""

    kind: str
    title: str
    said: str
    why: str


def verdicts(map_: PhaseMap) -> list[Verdict]:
    """Freeze, recommended range, melt; then order, the best temperatures and the peer's, where there are any."""
    edges = {edge.name: edge for edge in map_.edges}
    said = [_edge(edges["freeze"]), _range(map_), _edge(edges["melt"])]
    said += [_edge(edge) for name, edge in edges.items() if name not in ("freeze", "melt")]
    return [*said, *map(_best, map_.advice.best), _turn(map_.turn)]


def span(interval: tuple[float, float]) -> str:
    """An interval of temperatures."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def at(temperature: float | None, interval: tuple[float, float] | None) -> str:
    """A temperature with its 95 % interval."""
    if temperature is None:
        return "not found"
    return f"T = {temperature:.2f} ({span(interval) if interval else 'no interval'})"


def _edge(edge: Edge) -> Verdict:
    title, about = _ABOUT[edge.name]
    if edge.temperature is None:
        return Verdict(edge.name, title, NO_EDGE, sentence(edge.verdict))
    return Verdict(edge.name, title, at(edge.temperature, edge.interval), f"{about} {sentence(edge.verdict)}")


def _range(map_: PhaseMap) -> Verdict:
    interval = map_.advice.range
    said = "no range to recommend" if interval is None else f"T = {span(interval)}"
    return Verdict("use", "Recommended", said, sentence(map_.advice.reason))


def _best(best: Best) -> Verdict:
    accuracy = max(best.accuracy)
    why = f"Right in {accuracy:.0%} at best; from {span(best.interval)} nothing is told apart from it."
    return Verdict("best", f"Best for {best.way}", at(best.temperature, best.interval), why)


def _turn(turn: Located) -> Verdict:
    peer = "The entropy turning point of Du et al. 2025 (arXiv 2502.05234), a peer to compare with."
    said = "no turning point found" if turn.temperature is None else at(turn.temperature, turn.interval)
    return Verdict("turn", "TURN says", said, f"{peer} {sentence(turn.reason)}")


def mixture(found: Criticality) -> str:
    """What the control for a mixture of unlike texts says."""
    if found.mixture:
        return (
            "τ grows with N at every temperature, while fluctuations within each text do not: the growth comes from "
            "texts that differ from one another for good (language, topic), not from order within a text."
        )
    return (
        "Growth of τ at every temperature, with none within the texts, would point to a mixture of unlike texts "
        "(language, topic) instead of order; that is not what was found here."
    )


def rounded(value: float, half: float) -> str:
    """A number with half the width of its band, to two digits of the latter."""
    if not half > 0:
        return f"{value:.3g}"
    places = max(0, 1 - math.floor(math.log10(half)))
    return f"{value:.{places}f} ± {half:.{places}f}"


def sentence(text: str) -> str:
    """A clause as a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def printable(text: str) -> str:
    """The text with control characters replaced by visible signs; line breaks and tabs stay."""
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\N{REPLACEMENT CHARACTER}"
