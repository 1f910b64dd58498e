"""Histograms of the model's ensembles: filled once per step, in the engine's thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from heatbath.record import Frame, Observer, Record
from heatbath.serve.telemetry.buckets import NATS, Floats, HistogramSet

QUANTITIES = {
    "surprisal": "Minus the log-probability of each token drawn, in the model's ensemble at the temperature used.",
    "entropy": "Entropy of each step's ensemble at the temperature used.",
    "heat_capacity": "Heat capacity beta^2 Var E of each step's ensemble at the temperature used.",
    "log_z_centred": "log Z of each step's ensemble relative to its ground state, log_z + beta * ground energy: "
    "it does not depend on the gauge, and is minus the log of the largest probability.",
}


@dataclass(frozen=True)
class EnsembleTotals:
    """Totals since the start: `counts` (quantity, bucket), `sums` and `num_excluded` values (quantity,)."""

    steps: int
    drawn_tokens: int
    counts: NDArray[Any]
    sums: Floats
    num_excluded: NDArray[Any]


class EnsembleObserver(Observer):
    """Counts the ensembles of every step. `update` and `read_totals` may be called from different threads."""

    def __init__(self) -> None:
        self._histograms = HistogramSet(len(QUANTITIES))
        self._steps = self._drawn_tokens = 0
        self._lock = Lock()

    def update(self, frame: Frame) -> None:
        values = None if frame.record is None else _compute_quantities(frame.record)
        with self._lock:
            self._steps += 1
            self._drawn_tokens += len(frame.tokens)
            if values is not None:
                self._histograms.add(values)

    def read_totals(self) -> EnsembleTotals:
        """Return the totals so far, all at the same moment."""
        with self._lock:
            return EnsembleTotals(self._steps, self._drawn_tokens, *self._histograms.read_counts())


def _compute_quantities(record: Record) -> Floats:
    """Return the quantities (quantity, A); NaN where the record lacks a column."""
    values = np.full((len(QUANTITIES), *record.shape), np.nan)
    with np.errstate(divide="ignore"):
        for row, (column, function) in zip(values, _SOURCES, strict=True):
            if column in record:
                function(record[column], row)
    return values


def _negate(column: Floats, out: Floats) -> None:
    np.negative(column, out=out)


def _copy_column(column: Floats, out: Floats) -> None:
    out[:] = column


def _negate_log(column: Floats, out: Floats) -> None:
    # log_z + beta * ground loses digits at large beta and is NaN at beta = inf; p_max is its exact partner.
    np.negative(np.log(column), out=out)


_SOURCES = (("logprob", _negate), ("entropy", _copy_column), ("heat_capacity", _copy_column), ("p_max", _negate_log))


class EnsembleCollector(Collector):
    """Exports the totals of `ensembles` to Prometheus, under the name of their model."""

    def __init__(self, ensembles: EnsembleObserver, model: str) -> None:
        self._ensembles = ensembles
        self._model = model

    def collect(self) -> Iterator[Metric]:
        seen = self._ensembles.read_totals()
        yield _build_counter(
            "heatbath_engine_steps", "Steps in which rows drew a token together.", self._model, seen.steps
        )
        yield _build_counter(
            "heatbath_drawn_tokens", "Tokens drawn, also those that no answer kept.", self._model, seen.drawn_tokens
        )
        for i, (name, text) in enumerate(QUANTITIES.items()):
            family = HistogramMetricFamily(f"heatbath_{name}_nats", text, labels=["model"], unit="nats")
            family.add_metric([self._model], _cumulate_buckets(seen.counts[i]), sum_value=float(seen.sums[i]))
            yield family
        left = CounterMetricFamily(
            "heatbath_left_out_values",
            "Values in no histogram: not finite, such as the surprisal of a forbidden token, or past a million nats.",
            labels=["model", "quantity"],
        )
        for name, count in zip(QUANTITIES, seen.num_excluded.tolist(), strict=True):
            left.add_metric([self._model, name], count)
        yield left


def _build_counter(name: str, text: str, model: str, value: float) -> Metric:
    family = CounterMetricFamily(name, text, labels=["model"])
    family.add_metric([model], value)
    return family


def _cumulate_buckets(counts: NDArray[Any]) -> list[tuple[str, float]]:
    edges = [*map(str, NATS), "+Inf"]
    return list(zip(edges, map(float, accumulate(counts.tolist())), strict=True))
