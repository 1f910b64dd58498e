"""Stored minutes as columns for charts: evenly spaced, with nothing where nothing happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from heatbath.serve.metrics.buckets import Floats, quantile
from heatbath.serve.metrics.ensembles import QUANTITIES
from heatbath.serve.metrics.totals import EDGES
from heatbath.serve.page.live import COLUMNS
from heatbath.serve.storage.minutes import Minute

MINUTE = 60.0
POINTS = 360
"""Points of a chart at most; longer ranges take several minutes together."""


def columns(minutes: Sequence[Minute], start: float, end: float) -> dict[str, list[Any]]:
    """`COLUMNS` between `start` and `end` (Unix seconds), from the first minute on in which anything happened."""
    wide = MINUTE * max(1, round((end - start) / MINUTE / POINTS))
    groups: dict[int, list[Minute]] = {}
    for minute in minutes:
        groups.setdefault(int(minute.start // wide), []).append(minute)
    places = range(min(groups), int(end // wide) + 1) if groups else range(0)
    rows = [_row(groups.get(place, []), place * wide, wide) for place in places]
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def distributions(minutes: Iterable[Minute]) -> dict[str, dict[str, Any]]:
    """Counts and mean of each quantity by model, over all the minutes."""
    models: dict[str, list[Minute]] = {}
    for minute in minutes:
        models.setdefault(minute.model, []).append(minute)
    found = {model: {name: _distribution(own, name) for name in QUANTITIES} for model, own in models.items()}
    return {model: each for model, each in found.items() if any(any(one["counts"]) for one in each.values())}


def _row(minutes: Sequence[Minute], start: float, wide: float) -> list[Any]:
    def count(name: str) -> float:
        return sum(minute.counts.get(name, 0.0) for minute in minutes)

    def level(name: str, share: float) -> float | None:
        return quantile(_histogram(minutes, name), EDGES[name], share)

    prompt = count("prompt_tokens")
    return [
        start + wide / 2,
        count("requests") / wide,
        count("grown_tokens") / wide,
        count("errors") / wide,
        # Little's law: as many are inside on average as arrive in the time that one stays.
        max(count("duration_sum") - count("waited_sum"), 0.0) / wide,
        count("waited_sum") / wide,
        level("first_token", 0.5),
        level("first_token", 0.95),
        level("each_token", 0.5),
        level("each_token", 0.95),
        count("cached_tokens") / prompt if prompt else None,
    ]


def _distribution(minutes: Sequence[Minute], name: str) -> dict[str, Any]:
    counts = _histogram(minutes, name)
    total = float(counts.sum())
    summed = sum(minute.counts.get(f"{name}_sum", 0.0) for minute in minutes)
    return {"counts": counts.tolist(), "mean": summed / total if total else None}


def _histogram(minutes: Sequence[Minute], name: str) -> Floats:
    """The sum of a histogram; one of another length was written by another release with other bins, and is left out."""
    length = len(EDGES[name]) + 1
    counts = [minute.histograms.get(name, []) for minute in minutes]
    whole = [each for each in counts if len(each) == length]
    return np.asarray(np.sum(np.array([np.zeros(length), *whole], np.float64), axis=0))
