"""Stored minutes as columns of charts: evenly spaced, with zeros where nothing happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from heatbath.serve.dashboard.tick import TICK_COLUMNS
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.telemetry.buckets import Floats, quantile
from heatbath.serve.telemetry.ensemble_metrics import QUANTITIES
from heatbath.serve.telemetry.running_totals import HISTOGRAM_EDGES

MINUTE_SECONDS = 60.0
MAX_POINTS = 360
"""Most points of a chart; each point of a longer range covers several minutes."""


def build_columns(minutes: Sequence[Minute], start: float, end: float) -> dict[str, list[Any]]:
    """Return `TICK_COLUMNS` between `start` and `end` (Unix seconds), from the first minute with any activity."""
    wide = MINUTE_SECONDS * max(1, round((end - start) / MINUTE_SECONDS / MAX_POINTS))
    groups: dict[int, list[Minute]] = {}
    for minute in minutes:
        groups.setdefault(int(minute.start // wide), []).append(minute)
    places = range(min(groups), int(end // wide) + 1) if groups else range(0)
    rows = [_build_row(groups.get(place, []), place * wide, wide) for place in places]
    return {name: [row[i] for row in rows] for i, name in enumerate(TICK_COLUMNS)}


def merge_distributions(minutes: Iterable[Minute]) -> dict[str, dict[str, Any]]:
    """Return counts and mean of each quantity by model, over all the minutes."""
    models: dict[str, list[Minute]] = {}
    for minute in minutes:
        models.setdefault(minute.model, []).append(minute)
    found = {model: {name: _merge_distribution(own, name) for name in QUANTITIES} for model, own in models.items()}
    return {model: each for model, each in found.items() if any(any(one["counts"]) for one in each.values())}


def _build_row(minutes: Sequence[Minute], start: float, width: float) -> list[Any]:
    def count(name: str) -> float:
        return sum(minute.counts.get(name, 0.0) for minute in minutes)

    def level(name: str, share: float) -> float | None:
        return quantile(_merge_histogram(minutes, name), HISTOGRAM_EDGES[name], share)

    prompt = count("prompt_tokens")
    return [
        start + width / 2,
        count("requests") / width,
        count("grown_tokens") / width,
        count("errors") / width,
        # Little's law: the mean number in the system is the arrival rate times the mean time in it.
        max(count("duration_sum") - count("waited_sum"), 0.0) / width,
        count("waited_sum") / width,
        level("first_token", 0.5),
        level("first_token", 0.95),
        level("each_token", 0.5),
        level("each_token", 0.95),
        count("cached_tokens") / prompt if prompt else None,
    ]


def _merge_distribution(minutes: Sequence[Minute], name: str) -> dict[str, Any]:
    counts = _merge_histogram(minutes, name)
    total = float(counts.sum())
    summed = sum(minute.counts.get(f"{name}_sum", 0.0) for minute in minutes)
    return {"counts": counts.tolist(), "mean": summed / total if total else None}


def _merge_histogram(minutes: Sequence[Minute], name: str) -> Floats:
    """Return the sum of a histogram. Those of another length, from a release with other bins, are left out."""
    length = len(HISTOGRAM_EDGES[name]) + 1
    counts = [minute.histograms.get(name, []) for minute in minutes]
    whole = [each for each in counts if len(each) == length]
    return np.asarray(np.sum(np.array([np.zeros(length), *whole], np.float64), axis=0))
