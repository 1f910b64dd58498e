"""What happened in each minute, for the history of the page: kept here, handed to the storage as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable

from heatbath.serve.base import StoreDown
from heatbath.serve.metrics.buckets import Floats
from heatbath.serve.metrics.totals import COUNTS, EDGES, Totals, fields, histogram, zeros
from heatbath.serve.storage.minutes import History, Minute

MINUTE = 60.0
KEPT = 24 * 60
"""Minutes (of all models together) that wait here at most while nothing can be stored; then the oldest go."""

_Key = tuple[float, str]


class MinuteBook:
    """Figures by minute and model. `tick` takes in what has happened since the last one, at `clock` (Unix seconds).

    What was stored is kept as long as there is room, so that a clock that was set back adds to a minute where it would
    replace it.
    """

    def __init__(self, totals: Totals, *, clock: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        self._totals = totals
        self._clock = clock
        self._kept = kept
        self._last: dict[str, Floats] = {}
        self._minutes: dict[_Key, Floats] = {}
        self._unstored: set[_Key] = set()

    @property
    def waiting(self) -> int:
        """Minutes whose figures are not stored yet."""
        return len(self._unstored)

    def tick(self) -> None:
        """Count what came since the last tick to the minute it is now."""
        start = self._clock() // MINUTE * MINUTE
        for model, vector in self._totals.read().items():
            grown = vector - self._last.get(model, 0.0)
            if grown.any():
                self._add((start, model), grown)
            self._last[model] = vector

    async def flush(self, history: History) -> bool:
        """Store what is not stored yet; False, with nothing lost, if the storage is down."""
        self.tick()
        keys = sorted(self._unstored)
        if not keys:
            return True
        # Before the wait: what is counted meanwhile must find its minute unstored again.
        self._unstored.clear()
        try:
            await history.add_minute([_minute(key, self._minutes[key]) for key in keys])
        except BaseException as error:
            self._unstored.update(key for key in keys if key in self._minutes)
            if isinstance(error, StoreDown):
                return False
            raise
        return True

    def minutes(self) -> list[Minute]:
        """All that is kept here, oldest first."""
        return [_minute(key, self._minutes[key]) for key in sorted(self._minutes)]

    def _add(self, key: _Key, grown: Floats) -> None:
        self._minutes[key] = self._minutes.get(key, zeros()) + grown
        self._unstored.add(key)
        while len(self._minutes) > self._kept:
            oldest = next(iter(self._minutes))  # by when it was begun: the clock may have gone back since
            del self._minutes[oldest]
            self._unstored.discard(oldest)


def _minute(key: _Key, vector: Floats) -> Minute:
    counts = {name: value for name, value in fields(vector, COUNTS).items() if value}
    histograms = {name: histogram(vector, name).tolist() for name in EDGES if histogram(vector, name).any()}
    return Minute(*key, counts, histograms)
