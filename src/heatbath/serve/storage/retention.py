"""The clocks of storage: one for the time of a row, and one that decides when rows have expired.

The clock of a machine may be wrong for a while, above all after a start. A row that is kept too long can still be
deleted; one that was deleted too early is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_RATE = 24.0
"""Seconds of retention that pass at most in a second: a server that runs for an hour a day keeps up with the days."""

Clock = Callable[[], float]


class MonotonicClock:
    """A clock that never runs ahead of the time since the start, and never goes back behind what was stored.

    So outcomes may be deleted late when the clock of the machine was wrong, but never early.
    """

    def __init__(self, wall: Clock, monotonic: Clock = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self.floor = 0.0

    def current_time(self) -> float:
        """Return Unix seconds; less than the clock of the machine after it was set forward."""
        return min(self._wall(), self._offset + self._monotonic())

    def next_timestamp(self) -> float:
        """Return the time to store."""
        self.floor = max(self.floor, self.current_time())
        return self.floor


class RetentionClock:
    """The time by which outcomes expire, kept in the database.

    It follows the clock of the machine, but never goes back, and passes at most `MAX_RATE` times as fast as a server
    really runs. A clock that is ahead by weeks for an hour, after a restart or not, so moves it by a day at most; after
    a real pause it catches up within hours.
    """

    def __init__(self, wall: Clock, monotonic: Clock = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._last: tuple[float, float] | None = None

    def advance(self, kept: float | None, newest: float | None) -> float:
        """Return the time to keep in the database.

        `kept` is the one that it has, which another process may have moved on, None in a database that has none yet;
        then `newest` is the time of its latest row, None without any.
        """
        wall, now = self._wall(), self._monotonic()
        if kept is None:
            kept = wall if newest is None else min(wall, newest)
        last, when = self._last or (kept, now)
        time_ = max(kept, min(wall, last + MAX_RATE * (now - when)))
        self._last = time_, now
        return time_
