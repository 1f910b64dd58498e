"""Totals since the start by model, as flat vectors: the difference of two of them is what happened in between.

They are read from the instruments that Prometheus sees, so that each figure is counted in one place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from types import MappingProxyType

import numpy as np
from prometheus_client import Counter, Histogram
from prometheus_client.samples import Sample

from heatbath.serve.telemetry.buckets import (
    FIRST_TOKEN_SECONDS,
    NATS,
    REQUEST_SECONDS,
    TOKEN_INTERVAL_SECONDS,
    Floats,
)
from heatbath.serve.telemetry.ensemble_metrics import QUANTITIES, EnsembleObserver
from heatbath.serve.telemetry.instruments import Instruments

HISTOGRAM_EDGES = MappingProxyType(
    {
        "duration": REQUEST_SECONDS,
        "first_token": FIRST_TOKEN_SECONDS,
        "each_token": TOKEN_INTERVAL_SECONDS,
        "waited": FIRST_TOKEN_SECONDS,
        **dict.fromkeys(QUANTITIES, NATS),
    }
)
"""Upper edges of the histograms, seconds or nats; each histogram has one bucket more, for values above all of them."""

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
"""`errors` are statuses from 400 up except 499, which is `gone`. `grown_tokens` are counted as they come,
`completion_tokens` when a request ends."""

_COUNT_INDEX = {name: i for i, name in enumerate(COUNT_NAMES)}
_GONE = "499"


def _build_slices() -> dict[str, slice]:
    start, slices = len(COUNT_NAMES), {}
    for name, edges in HISTOGRAM_EDGES.items():
        slices[name] = slice(start, start + len(edges) + 1)
        start = slices[name].stop
    return slices


_SLICES = _build_slices()
_LENGTH = max(part.stop for part in _SLICES.values())


def zero_vector() -> Floats:
    """Return the vector of zeros."""
    return np.zeros(_LENGTH)


def get_count(vector: Floats, name: str) -> float:
    """Return one of `COUNT_NAMES`."""
    return float(vector[_COUNT_INDEX[name]])


def get_histogram(vector: Floats, name: str) -> Floats:
    """Return the counts of one of `HISTOGRAM_EDGES`, not cumulative."""
    return vector[_SLICES[name]]


def counts_by_name(vector: Floats, names: Sequence[str] = COUNT_NAMES) -> dict[str, float]:
    """Return counts by name."""
    return {name: get_count(vector, name) for name in names}


class RequestTotals:
    """Reads the totals of requests from `instruments`, and those of the engine's own model from `ensembles` too."""

    def __init__(self, own_model: str, instruments: Instruments, ensembles: EnsembleObserver) -> None:
        self.own_model = own_model
        self._instruments = instruments
        self._ensembles = ensembles

    def read_vectors(self) -> dict[str, Floats]:
        """Return the vectors by model."""
        vectors: defaultdict[str, Floats] = defaultdict(zero_vector)
        self._add_counters(vectors)
        self._add_histograms(vectors)
        self._add_ensembles(vectors[self.own_model])
        return dict(vectors)

    def _add_counters(self, vectors: defaultdict[str, Floats]) -> None:
        instruments = self._instruments
        for sample in _read_samples(instruments.requests):
            vector, status = vectors[sample.labels["model"]], sample.labels["status"]
            vector[_COUNT_INDEX["requests"]] += sample.value
            if status == _GONE:
                vector[_COUNT_INDEX["gone"]] += sample.value
            elif status.startswith(("4", "5")):
                vector[_COUNT_INDEX["errors"]] += sample.value
        for name, counter in (
            ("prompt_tokens", instruments.prompt),
            ("cached_tokens", instruments.cached_prompt),
            ("completion_tokens", instruments.completion),
            ("grown_tokens", instruments.generated),
        ):
            for sample in _read_samples(counter):
                vectors[sample.labels["model"]][_COUNT_INDEX[name]] += sample.value
        # A rejected request has no model.
        refused = sum(sample.value for sample in _read_samples(instruments.rejections))
        vectors[self.own_model][_COUNT_INDEX["refused"]] += refused

    def _add_histograms(self, vectors: defaultdict[str, Floats]) -> None:
        instruments = self._instruments
        for name, histogram in (
            ("duration", instruments.duration),
            ("first_token", instruments.first_token),
            ("each_token", instruments.token_interval),
            ("waited", instruments.queue),
        ):
            start, place, below = _SLICES[name].start, 0, 0.0
            for sample in _read_samples(histogram):
                vector = vectors[sample.labels["model"]]
                if sample.name.endswith("_sum"):
                    vector[_COUNT_INDEX[f"{name}_sum"]] += sample.value
                    continue
                # The buckets of a series come in ascending order and are cumulative.
                vector[start + place] += sample.value - below
                place, below = (0, 0.0) if sample.labels["le"] == "+Inf" else (place + 1, sample.value)

    def _add_ensembles(self, vector: Floats) -> None:
        totals = self._ensembles.read_totals()
        vector[_COUNT_INDEX["steps"]], vector[_COUNT_INDEX["drawn_tokens"]] = totals.steps, totals.drawn_tokens
        for name, counts, total in zip(QUANTITIES, totals.counts, totals.sums.tolist(), strict=True):
            vector[_SLICES[name]] = counts
            vector[_COUNT_INDEX[f"{name}_sum"]] = total


def _read_samples(instrument: Counter | Histogram) -> Iterator[Sample]:
    """Yield the values of a counter, or the buckets and sums of a histogram."""
    for family in instrument.collect():
        for sample in family.samples:
            if sample.name.endswith(("_total", "_bucket", "_sum")):
                yield sample
