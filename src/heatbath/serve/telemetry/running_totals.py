"""Running totals by model, as flat vectors: the difference of two of them is what happened between."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from heatbath.serve.telemetry.buckets import (
    FIRST_TOKEN_SECONDS,
    NATS,
    REQUEST_SECONDS,
    TOKEN_INTERVAL_SECONDS,
    Floats,
    find_bucket,
)
from heatbath.serve.telemetry.ensemble_metrics import QUANTITIES, EnsembleObserver
from heatbath.serve.telemetry.labels import Labels

HISTOGRAM_EDGES = MappingProxyType(
    {
        "duration": REQUEST_SECONDS,
        "first_token": FIRST_TOKEN_SECONDS,
        "each_token": TOKEN_INTERVAL_SECONDS,
        "waited": FIRST_TOKEN_SECONDS,
        **dict.fromkeys(QUANTITIES, NATS),
    }
)
"""Upper edges of the histograms, seconds or nats; each histogram has one bucket more, for what is above them all."""

COUNT_NAMES = (
    "requests",
    "errors",
    "gone",
    "refused",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "grown_tokens",
    "drawn_tokens",
    "steps",
    *(f"{name}_sum" for name in HISTOGRAM_EDGES),
)
"""`errors` are statuses from 400 up but for 499, `gone`. `grown_tokens` are counted as they come, `completion_tokens`
when a request ends."""

_COUNT_INDEX = {name: i for i, name in enumerate(COUNT_NAMES)}


def _build_slices() -> dict[str, slice]:
    start, out = len(COUNT_NAMES), {}
    for name, edges in HISTOGRAM_EDGES.items():
        out[name] = slice(start, start + len(edges) + 1)
        start = out[name].stop
    return out


_SLICES = _build_slices()
_LENGTH = max(part.stop for part in _SLICES.values())


def zero_vector() -> Floats:
    """The vector of nothing."""
    return np.zeros(_LENGTH)


def get_count(vector: Floats, name: str) -> float:
    """One of `COUNTS`."""
    return float(vector[_COUNT_INDEX[name]])


def get_histogram(vector: Floats, name: str) -> Floats:
    """The counts of one of `EDGES`, not accumulated."""
    return vector[_SLICES[name]]


class RequestTotals:
    """What has happened since the start, by model. The engine's own model has the ensembles too."""

    def __init__(self, labels: Labels, ensembles: EnsembleObserver) -> None:
        self.own_model = labels.own_model
        self._ensembles = ensembles
        self._vectors: dict[str, Floats] = {labels.own_model: zero_vector()}

    def add(self, model: str, name: str, amount: float = 1.0) -> None:
        """Add to one of `COUNTS`. `model` is a label."""
        self._get_vector(model)[_COUNT_INDEX[name]] += amount

    def observe(self, model: str, name: str, seconds: float) -> None:
        """Count a duration in one of `EDGES` and add it to its sum."""
        vector = self._get_vector(model)
        vector[_SLICES[name].start + find_bucket(seconds, HISTOGRAM_EDGES[name])] += 1
        vector[_COUNT_INDEX[f"{name}_sum"]] += seconds

    def read_vectors(self) -> dict[str, Floats]:
        """The vectors now, by model."""
        vectors = {model: vector.copy() for model, vector in self._vectors.items()}
        self._fill_ensembles(vectors[self.own_model])
        return vectors

    def _get_vector(self, model: str) -> Floats:
        if model not in self._vectors:
            self._vectors[model] = zero_vector()
        return self._vectors[model]

    def _fill_ensembles(self, vector: Floats) -> None:
        seen = self._ensembles.read_totals()
        vector[_COUNT_INDEX["steps"]], vector[_COUNT_INDEX["drawn_tokens"]] = seen.steps, seen.drawn_tokens
        for name, counts, total in zip(QUANTITIES, seen.counts, seen.sums.tolist(), strict=True):
            vector[_SLICES[name]] = counts
            vector[_COUNT_INDEX[f"{name}_sum"]] = total


def counts_by_name(vector: Floats, names: Sequence[str] = COUNT_NAMES) -> dict[str, float]:
    """Counts by name."""
    return {name: get_count(vector, name) for name in names}
