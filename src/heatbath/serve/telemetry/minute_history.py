"""History by the minute for the dashboard: kept in memory, written to storage as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable

from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.storage.minutes import Minute, MinuteStore
from heatbath.serve.telemetry.buckets import Floats
from heatbath.serve.telemetry.running_totals import (
    COUNT_NAMES,
    HISTOGRAM_EDGES,
    RequestTotals,
    counts_by_name,
    get_histogram,
    zero_vector,
)

MINUTE_SECONDS = 60.0
MAX_MINUTES = 24 * 60
"""Most minutes (of all models together) that wait for storage; then the oldest are dropped."""

_Key = tuple[float, str]


class MinuteHistory:
    """Figures by minute and model. `tick` adds what has happened since the last one, at `clock` (Unix seconds).

    Stored minutes are kept as long as there is room, so that a clock that was set back adds to a minute instead of
    replacing it.
    """

    def __init__(
        self, totals: RequestTotals, *, clock: Callable[[], float] = time.time, max_minutes: int = MAX_MINUTES
    ) -> None:
        self._totals = totals
        self._clock = clock
        self._max_minutes = max_minutes
        self._last_totals: dict[str, Floats] = {}
        self._minutes: dict[_Key, Floats] = {}
        self._unsaved_keys: set[_Key] = set()

    @property
    def num_unsaved(self) -> int:
        """Number of minutes that are not stored yet."""
        return len(self._unsaved_keys)

    def tick(self) -> None:
        """Add what happened since the last tick to the current minute."""
        start = self._clock() // MINUTE_SECONDS * MINUTE_SECONDS
        for model, vector in self._totals.read_vectors().items():
            grown = vector - self._last_totals.get(model, 0.0)
            if grown.any():
                self._add((start, model), grown)
            self._last_totals[model] = vector

    async def flush(self, minute_store: MinuteStore) -> bool:
        """Store what is not stored yet; False, with nothing lost, if the storage is unavailable."""
        self.tick()
        keys = sorted(self._unsaved_keys)
        if not keys:
            return True
        # Before the wait, so that figures counted meanwhile mark their minute as unsaved again.
        self._unsaved_keys.clear()
        try:
            await minute_store.write_minutes([_build_minute(key, self._minutes[key]) for key in keys])
        except BaseException as error:
            self._unsaved_keys.update(key for key in keys if key in self._minutes)
            if isinstance(error, StoreUnavailable):
                return False
            raise
        return True

    def minutes(self) -> list[Minute]:
        """Return all minutes in memory, oldest first."""
        return [_build_minute(key, self._minutes[key]) for key in sorted(self._minutes)]

    def _add(self, key: _Key, increase: Floats) -> None:
        self._minutes[key] = self._minutes.get(key, zero_vector()) + increase
        self._unsaved_keys.add(key)
        while len(self._minutes) > self._max_minutes:
            oldest = next(iter(self._minutes))  # the first added: the clock may have gone back since
            del self._minutes[oldest]
            self._unsaved_keys.discard(oldest)


def _build_minute(key: _Key, vector: Floats) -> Minute:
    counts = {name: value for name, value in counts_by_name(vector, COUNT_NAMES).items() if value}
    histograms = {
        name: get_histogram(vector, name).tolist() for name in HISTOGRAM_EDGES if get_histogram(vector, name).any()
    }
    return Minute(*key, counts, histograms)
