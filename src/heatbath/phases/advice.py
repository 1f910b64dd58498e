"""Recommended temperatures: a range between the edges and, with scored prompts, the most accurate temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.phases.edges import Edge


@dataclass(frozen=True)
class BestTemperature:
    """The best temperature for one way of answering: its `accuracy` (k,) at `temperatures` (k,) is the highest.

    `interval` is the range around it whose accuracies do not differ from it at 95 %. `accuracy_interval` holds Wilson
    intervals at 95 % for the accuracy on prompts like these, (k, 2).
    """

    way: str
    temperature: float
    interval: tuple[float, float]
    temperatures: tuple[float, ...]
    accuracy: tuple[float, ...]
    accuracy_stderr: tuple[float, ...]
    accuracy_interval: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class WrongAnswers:
    """A prompt that texts at `temperature` answered wrongly: the share that was right, and a few of the texts
    that scored below one half.
    """

    prompt: str
    expected: str
    grader: str
    temperature: float
    share_right: float
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """A recommended `range` between the edges, or None, with the `reason`; `best` for each way of answering.

    `wrong` are the prompts that were answered wrongly at the best temperature for one answer, the worst first.
    """

    range: tuple[float, float] | None
    reason: str
    best: tuple[BestTemperature, ...] = ()
    wrong: tuple[WrongAnswers, ...] = ()


def recommend_range(edges: Sequence[Edge]) -> Advice:
    """Recommend the range from the upper end of the freeze interval to the lower end of the melt interval."""
    freeze, melt = (next(edge for edge in edges if edge.name == name) for name in ("freeze", "melt"))
    if freeze.interval is None or melt.interval is None:
        missing = " and ".join(edge.name for edge in (freeze, melt) if edge.interval is None)
        return Advice(None, f"no {missing} edge was found, so there is no range between edges")
    low, high = freeze.interval[1], melt.interval[0]
    if low >= high:
        return Advice(None, "the intervals of freeze and melt overlap: sample more sequences")
    return Advice((low, high), "clear of both edges' intervals")
