"""Recommended temperatures: a range between the edges and, with scored prompts, the most accurate temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.phases.curves import wilson_interval
from heatbath.phases.edges import Edge

Floats = NDArray[np.float64]

GROUP_SIZE = 32
"""Texts of neighbouring temperatures whose share of frozen ones is compared with one half."""


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


def recommend_range(edges: Sequence[Edge], free_above: float | None = None) -> Advice:
    """Recommend the range from the upper end of the freeze interval to the lower end of the melt interval.

    Args:
        edges: the freeze and the melt edge, and others.
        free_above: the temperature above which few texts are frozen, see `find_free_temperature`. It is the lower end
            where no freeze edge was found, as for a chat model whose texts mostly end by themselves.
    """
    freeze, melt = (next(edge for edge in edges if edge.name == name) for name in ("freeze", "melt"))
    low = free_above if freeze.interval is None else freeze.interval[1]
    if low is None or melt.interval is None:
        missing = " and ".join(edge.name for edge in (freeze, melt) if edge.interval is None)
        return Advice(None, f"no {missing} edge was found, so there is no range between edges")
    if low >= melt.interval[0]:
        return Advice(None, "the intervals of freeze and melt overlap: sample more sequences")
    if freeze.interval is not None:
        return Advice((low, melt.interval[0]), "clear of both edges' intervals")
    reason = (
        f"no freeze edge was found, but from T = {low:.2f} on fewer than half of the texts loop or repeat themselves "
        "(at 95 %); clear of the melt edge's interval"
    )
    return Advice((low, melt.interval[0]), reason)


def find_free_temperature(temperature_n: Floats, frozen_n: Floats) -> float | None:
    """Return the lowest temperature from which on significantly fewer than half of the texts are frozen, or None.

    Neighbouring texts are grouped by temperature, about 32 at a time. From the hottest group down, the upper end of the
    95 % interval of their share must be below one half.

    Args:
        temperature_n: the temperature of each text.
        frozen_n: 1 for texts that loop or say nothing new, else 0.
    """
    order = np.argsort(temperature_n, kind="stable")
    groups = np.array_split(order, max(1, len(order) // GROUP_SIZE))
    for group in reversed(groups):
        high = wilson_interval(frozen_n[group].mean(keepdims=True), np.array([float(len(group))]))[1, 0]
        if high >= 0.5:
            hotter = temperature_n[temperature_n > temperature_n[group].max()]
            return float(hotter.min()) if hotter.size else None
    return float(temperature_n.min())
