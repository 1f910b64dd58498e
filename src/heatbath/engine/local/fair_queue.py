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

_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 120.0
_SMOOTHING = 0.2


@dataclass(frozen=True)
class QueueClaim:
    """What a request asks of the engine: whose it is, its priority (lower first), and its cost in tokens."""

    tenant: str
    priority: int
    cost: float


@dataclass(order=True)
class _Entry(Generic[T]):
    key: tuple[int, float, int]
    item: T = field(compare=False)


class FairQueue(Generic[T]):
    """A queue that many threads may use, fair by start times.

    A request starts, in virtual time, when the tenant's last one ends or now, whichever is later, and ends `cost`
    later; the one that starts first is next. So a tenant with many requests waits behind its own.
    Source: Goyal, Vin and Cheng 1996, doi:10.1145/248157.248171.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[_Entry[T]] = []
        self._order = count()
        self._virtual_time = 0.0
        self._virtual_end_times: dict[str, float] = {}
        self._num_reserved = 0
        self._mean_seconds = 1.0

    def __len__(self) -> int:
        """How many wait, those among them that are still being made ready."""
        return self._num_reserved

    def reserve(self, max_waiting: int, running: int) -> None:
        """Take one of `most` places. Raises `Overloaded` when there is none.

        When there will be is guessed from how long the `working` requests take.
        """
        with self._lock:
            if self._num_reserved >= max_waiting:
                wait = min(
                    max(self._mean_seconds * self._num_reserved / max(running, 1), _MIN_RETRY_SECONDS),
                    _MAX_RETRY_SECONDS,
                )
                told = f"{self._num_reserved} requests are waiting, which is as many as may: try again in {wait:.0f} seconds."
                raise Overloaded(told, wait)
            self._num_reserved += 1

    def release(self) -> None:
        """Give up a place that was reserved and holds nothing."""
        with self._lock:
            self._num_reserved -= 1

    def push(self, item: T, claim: QueueClaim) -> None:
        """Put an item on a place that was reserved."""
        with self._lock:
            start = max(self._virtual_time, self._virtual_end_times.get(claim.tenant, 0.0))
            self._virtual_end_times[claim.tenant] = start + claim.cost
            heapq.heappush(self._heap, _Entry((claim.priority, start, next(self._order)), item))

    def pop(self, fits: Callable[[T], bool]) -> T | None:
        """The next item, if it fits; others do not pass it, or what is large would never come."""
        with self._lock:
            if not self._heap or not fits(self._heap[0].item):
                return None
            entry = heapq.heappop(self._heap)
            self._num_reserved -= 1
            self._virtual_time = max(self._virtual_time, entry.key[1])
            self._virtual_end_times = {
                tenant: end for tenant, end in self._virtual_end_times.items() if end > self._virtual_time
            }
            return entry.item

    def remove(self, predicate: Callable[[T], bool]) -> list[T]:
        """Take out and give back all items that are `unwanted`."""
        with self._lock:
            out = [entry.item for entry in self._heap if predicate(entry.item)]
            if out:
                self._heap = [entry for entry in self._heap if not predicate(entry.item)]
                heapq.heapify(self._heap)
                self._num_reserved -= len(out)
            return out

    def record_duration(self, seconds: float) -> None:
        """A request was in work for so long."""
        self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)
