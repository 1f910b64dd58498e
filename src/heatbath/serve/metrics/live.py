"""What is going on now: rates and distributions of the last seconds, from totals kept once a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from heatbath.serve.metrics.buckets import Floats, quantile
from heatbath.serve.metrics.totals import EDGES, Totals, count, histogram, zeros

SPANS = (10, 60, 300)
"""Seconds over which rates are given."""

RATES = ("requests", "errors", "gone", "refused", "prompt_tokens", "cached_tokens", "grown_tokens", "drawn_tokens")
LEVELS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Live:
    """A ring of totals, one a second, five minutes long."""

    def __init__(self, totals: Totals, *, clock: Callable[[], float] = monotonic) -> None:
        self._totals = totals
        self._clock = clock
        self._ring: deque[tuple[float, dict[str, Floats]]] = deque(maxlen=SPANS[-1] + 2)
        self.tick()

    def tick(self) -> None:
        """Keep the totals of now."""
        self._ring.append((self._clock(), self._totals.read()))

    def read(self) -> dict[str, Any]:
        """By model: `rates` a second over each of `SPANS`; over the last minute `times` in seconds (quantiles, mean,
        count) and `histograms` (counts, mean), whose `edges` are given once."""
        now, totals = self._clock(), self._totals.read()
        models = {
            model: {
                "rates": {str(span): self._rates(model, vector, now, span) for span in SPANS},
                **_distributions(self._since(model, vector, now - 60)[0]),
            }
            for model, vector in totals.items()
        }
        return {"models": models, "edges": {name: list(edges) for name, edges in EDGES.items()}}

    def _rates(self, model: str, vector: Floats, now: float, span: int) -> dict[str, float]:
        grown, start = self._since(model, vector, now - span)
        seconds = max(now - start, 1.0)
        return {name: count(grown, name) / seconds for name in RATES}

    def _since(self, model: str, vector: Floats, start: float) -> tuple[Floats, float]:
        """What was added since the newest totals that are at least as old as `start`, or the oldest; and their time."""
        then, kept = next(((t, kept) for t, kept in reversed(self._ring) if t <= start), self._ring[0])
        return vector - kept.get(model, zeros()), then


def _distributions(grown: Floats) -> dict[str, Any]:
    times, histograms = {}, {}
    for name, edges in EDGES.items():
        counts = histogram(grown, name)
        seen = float(counts.sum())
        mean = count(grown, f"{name}_sum") / seen if seen else None
        levels = {level: quantile(counts, edges, share) for level, share in LEVELS.items()}
        if name in _TIMES:
            times[name] = {"count": seen, "mean": mean, **levels}
        histograms[name] = {"counts": counts.tolist(), "mean": mean, **levels}
    return {"times": times, "histograms": histograms}


_TIMES = ("duration", "first_token", "each_token", "waited")
