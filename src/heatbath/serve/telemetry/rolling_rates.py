"""Current rates and distributions, from totals that are kept once a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from heatbath.serve.telemetry.buckets import Floats, quantile
from heatbath.serve.telemetry.running_totals import (
    HISTOGRAM_EDGES,
    RequestTotals,
    get_count,
    get_histogram,
    zero_vector,
)

SPAN_SECONDS = (10, 60, 300)
"""Seconds over which rates are given."""

RATES = ("requests", "errors", "gone", "refused", "prompt_tokens", "cached_tokens", "grown_tokens", "drawn_tokens")
_SUMS = {"requests": "requests", "tokens": "grown_tokens", "errors": "errors", "refused": "refused"}
"""Totals since the start over all models, by their names in the snapshot."""

QUANTILE_LEVELS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class RollingRates:
    """A ring of totals, one a second, five minutes long."""

    def __init__(self, totals: RequestTotals, *, clock: Callable[[], float] = monotonic) -> None:
        self._totals = totals
        self._clock = clock
        self._ring: deque[tuple[float, dict[str, Floats]]] = deque(maxlen=SPAN_SECONDS[-1] + 2)
        self.tick()

    def tick(self) -> None:
        """Keep the current totals."""
        self._ring.append((self._clock(), self._totals.read_vectors()))

    def read_rates(self) -> dict[str, Any]:
        """Return the current figures.

        By model: `rates` per second over each of `SPAN_SECONDS`; over the last minute `times` in seconds (quantiles,
        mean, count) and `histograms` (counts, mean), whose `edges` are given once. `totals` are of all models.
        """
        now, totals = self._clock(), self._totals.read_vectors()
        models = {
            model: {
                "rates": {str(span): self._compute_rates(model, vector, now, span) for span in SPAN_SECONDS},
                **_summarize_distributions(self._increase_since(model, vector, now - 60)[0]),
            }
            for model, vector in totals.items()
        }
        sums = {name: int(sum(get_count(vector, count) for vector in totals.values())) for name, count in _SUMS.items()}
        edges = {name: list(each) for name, each in HISTOGRAM_EDGES.items()}
        return {"models": models, "edges": edges, "totals": sums}

    def _compute_rates(self, model: str, vector: Floats, now: float, span: int) -> dict[str, float]:
        grown, start = self._increase_since(model, vector, now - span)
        seconds = max(now - start, 1.0)
        return {name: get_count(grown, name) / seconds for name in RATES}

    def _increase_since(self, model: str, vector: Floats, start: float) -> tuple[Floats, float]:
        """Return the increase since the newest totals at least as old as `start`, or the oldest, and their time."""
        then, kept = next(((t, kept) for t, kept in reversed(self._ring) if t <= start), self._ring[0])
        return vector - kept.get(model, zero_vector()), then


def _summarize_distributions(increase: Floats) -> dict[str, Any]:
    times, histograms = {}, {}
    for name, edges in HISTOGRAM_EDGES.items():
        counts = get_histogram(increase, name)
        seen = float(counts.sum())
        mean = get_count(increase, f"{name}_sum") / seen if seen else None
        levels = {level: quantile(counts, edges, share) for level, share in QUANTILE_LEVELS.items()}
        if name in _TIME_NAMES:
            times[name] = {"count": seen, "mean": mean, **levels}
        histograms[name] = {"counts": counts.tolist(), "mean": mean, **levels}
    return {"times": times, "histograms": histograms}


_TIME_NAMES = ("duration", "first_token", "each_token", "waited")
