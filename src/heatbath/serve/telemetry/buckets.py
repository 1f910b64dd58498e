"""Bucket edges of histograms, and histograms of arrays.

Those of durations are the edges that the OpenTelemetry conventions give for servers of language models, so that both
exports can be compared. Those of nats are six to a decade, a step of about 1.5, so that a quantile read off is within a
fifth: from 0.01, where a token of probability 0.99 lies, past ln V of every vocabulary (12.5 at 262,144 tokens), which
bounds entropy and log Z, to 47, past the largest heat capacity of such a vocabulary (about (ln V)²/4, 40).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

REQUEST_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKEN_INTERVAL_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
NATS = (
    *(0.01, 0.015, 0.022, 0.033, 0.047, 0.068),
    *(0.1, 0.15, 0.22, 0.33, 0.47, 0.68),
    *(1.0, 1.5, 2.2, 3.3, 4.7, 6.8),
    *(10.0, 15.0, 22.0, 33.0, 47.0),
)

MAX_NATS = 1e6
"""Largest value counted, in nats. Larger ones come from masks written as large numbers, and would dominate sums."""

Floats = NDArray[np.float64]


class HistogramSet:
    """Histograms of `count` quantities over the same edges, filled many values at a time."""

    def __init__(self, count: int, edges: Sequence[float] = NATS) -> None:
        self.edges = np.asarray(edges, dtype=np.float64)
        self._width = len(edges) + 2  # the last bucket counts values that are not measurements
        self._offsets = np.arange(count)[:, None] * self._width
        self._counts = np.zeros(count * self._width, dtype=np.int64)
        self._sums = np.zeros(count)

    def add(self, values: Floats) -> None:
        """Count values (count, A). Rounding below 0 counts as 0; NaN and values past `MAX_NATS` are counted apart."""
        sound = np.abs(values) < MAX_NATS
        kept = np.maximum(np.where(sound, values, 0.0), 0.0)
        index = np.where(sound, self.edges.searchsorted(kept), self._width - 1) + self._offsets
        self._counts += np.bincount(index.ravel(), minlength=len(self._counts))
        self._sums += kept.sum(axis=1)

    def read_counts(self) -> tuple[NDArray[Any], Floats, NDArray[Any]]:
        """Return counts (count, buckets) and sums (count,), and how many values were counted apart (count,)."""
        counts = self._counts.reshape(-1, self._width)
        return counts[:, :-1].copy(), self._sums.copy(), counts[:, -1].copy()


def quantile(counts: Floats, edges: Sequence[float], level: float) -> float | None:
    """Return the value below which a share `level` lies, by linear interpolation in its bucket; None without counts."""
    total = float(counts.sum())
    if not total:
        return None
    upto = np.cumsum(counts)
    i = int(np.searchsorted(upto, level * total))
    if i >= len(edges):
        return float(edges[-1])
    low = edges[i - 1] if i else 0.0
    before = upto[i] - counts[i]
    return float(low + (edges[i] - low) * (level * total - before) / counts[i])
