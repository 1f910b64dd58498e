"""Who is next: priorities first, then fair shares between tenants; bounded, so that waiting has an end."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from heatbath.engine.base import Overloaded

T = TypeVar("T")

_LEAST_WAIT, _MOST_WAIT = 1.0, 120.0
_NEWEST = 0.2


@dataclass(frozen=True)
class Claim:
    """What a request asks of the engine: whose it is, its priority (lower first), and its cost in tokens."""

    tenant: str
    priority: int
    cost: float


@dataclass(order=True)
class _Entry(Generic[T]):
    key: tuple[int, float, int]
    item: T = field(compare=False)


class Queue(Generic[T]):
    """A queue that many threads may use, fair by start times.

    A request starts, in virtual time, when the tenant's last one ends or now, whichever is later, and ends `cost`
    later; the one that starts first is next. So a tenant with many requests waits behind its own.
    Source: Goyal, Vin and Cheng 1996, doi:10.1145/248157.248171.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[_Entry[T]] = []
        self._order = count()
        self._now = 0.0
        self._ends: dict[str, float] = {}
        self._places = 0
        self._seconds = 1.0

    def __len__(self) -> int:
        """How many wait, those among them that are still being made ready."""
        return self._places

    def reserve(self, most: int, working: int) -> None:
        """Take one of `most` places. Raises `Overloaded` when there is none.

        When there will be is guessed from how long the `working` requests take.
        """
        with self._lock:
            if self._places >= most:
                wait = min(max(self._seconds * self._places / max(working, 1), _LEAST_WAIT), _MOST_WAIT)
                told = f"{self._places} requests are waiting, which is as many as may: try again in {wait:.0f} seconds."
                raise Overloaded(told, wait)
            self._places += 1

    def leave(self) -> None:
        """Give up a place that was reserved and holds nothing."""
        with self._lock:
            self._places -= 1

    def push(self, item: T, claim: Claim) -> None:
        """Put an item on a place that was reserved."""
        with self._lock:
            start = max(self._now, self._ends.get(claim.tenant, 0.0))
            self._ends[claim.tenant] = start + claim.cost
            heapq.heappush(self._heap, _Entry((claim.priority, start, next(self._order)), item))

    def pop(self, fits: Callable[[T], bool]) -> T | None:
        """The next item, if it fits; others do not pass it, or what is large would never come."""
        with self._lock:
            if not self._heap or not fits(self._heap[0].item):
                return None
            entry = heapq.heappop(self._heap)
            self._places -= 1
            self._now = max(self._now, entry.key[1])
            self._ends = {tenant: end for tenant, end in self._ends.items() if end > self._now}
            return entry.item

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out and give back all items that are `unwanted`."""
        with self._lock:
            out = [entry.item for entry in self._heap if unwanted(entry.item)]
            if out:
                self._heap = [entry for entry in self._heap if not unwanted(entry.item)]
                heapq.heapify(self._heap)
                self._places -= len(out)
            return out

    def took(self, seconds: float) -> None:
        """A request was in work for so long."""
        self._seconds += _NEWEST * (seconds - self._seconds)
