"""Running totals by model, as flat vectors: the difference of two of them is what happened between."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from heatbath.serve.metrics.buckets import EACH_TOKEN, FIRST_TOKEN, NATS, REQUEST, Floats, place
from heatbath.serve.metrics.ensembles import QUANTITIES, Ensembles
from heatbath.serve.metrics.labels import Labels

EDGES = MappingProxyType(
    {
        "duration": REQUEST,
        "first_token": FIRST_TOKEN,
        "each_token": EACH_TOKEN,
        "waited": FIRST_TOKEN,
        **dict.fromkeys(QUANTITIES, NATS),
    }
)
"""Upper edges of the histograms, seconds or nats; each histogram has one bucket more, for what is above them all."""

COUNTS = (
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
    *(f"{name}_sum" for name in EDGES),
)
"""`errors` are statuses from 400 up but for 499, `gone`. `grown_tokens` are counted as they come, `completion_tokens`
when a request ends."""

_AT = {name: i for i, name in enumerate(COUNTS)}


def _slices() -> dict[str, slice]:
    start, out = len(COUNTS), {}
    for name, edges in EDGES.items():
        out[name] = slice(start, start + len(edges) + 1)
        start = out[name].stop
    return out


_SLICES = _slices()
_LENGTH = max(part.stop for part in _SLICES.values())


def zeros() -> Floats:
    """The vector of nothing."""
    return np.zeros(_LENGTH)


def count(vector: Floats, name: str) -> float:
    """One of `COUNTS`."""
    return float(vector[_AT[name]])


def histogram(vector: Floats, name: str) -> Floats:
    """The counts of one of `EDGES`, not accumulated."""
    return vector[_SLICES[name]]


class Totals:
    """What has happened since the start, by model. The engine's own model has the ensembles too."""

    def __init__(self, labels: Labels, ensembles: Ensembles) -> None:
        self.own = labels.own
        self._ensembles = ensembles
        self._vectors: dict[str, Floats] = {labels.own: zeros()}

    def add(self, model: str, name: str, amount: float = 1.0) -> None:
        """Add to one of `COUNTS`. `model` is a label."""
        self._of(model)[_AT[name]] += amount

    def observe(self, model: str, name: str, seconds: float) -> None:
        """Count a duration in one of `EDGES` and add it to its sum."""
        vector = self._of(model)
        vector[_SLICES[name].start + place(seconds, EDGES[name])] += 1
        vector[_AT[f"{name}_sum"]] += seconds

    def read(self) -> dict[str, Floats]:
        """The vectors now, by model."""
        vectors = {model: vector.copy() for model, vector in self._vectors.items()}
        self._fill(vectors[self.own])
        return vectors

    def _of(self, model: str) -> Floats:
        if model not in self._vectors:
            self._vectors[model] = zeros()
        return self._vectors[model]

    def _fill(self, vector: Floats) -> None:
        seen = self._ensembles.read()
        vector[_AT["steps"]], vector[_AT["drawn_tokens"]] = seen.steps, seen.drawn
        for name, counts, total in zip(QUANTITIES, seen.counts, seen.sums.tolist(), strict=True):
            vector[_SLICES[name]] = counts
            vector[_AT[f"{name}_sum"]] = total


def fields(vector: Floats, names: Sequence[str] = COUNTS) -> dict[str, float]:
    """Counts by name."""
    return {name: count(vector, name) for name in names}
