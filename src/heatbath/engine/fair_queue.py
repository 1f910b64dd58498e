"""A bounded queue of requests: by priority, then fair between tenants."""

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
    """The claim of a request on the engine: its tenant, its priority (lower first) and its cost in tokens."""

    tenant: str
    priority: int
    cost: float


@dataclass(order=True)
class _Entry(Generic[T]):
    key: tuple[int, float, int]
    item: T = field(compare=False)


class FairQueue(Generic[T]):
    """A thread-safe queue with start-time fair queueing.

    In virtual time, a request starts now or when the tenant's previous one ends, whichever is later, and ends `cost`
    later; the request with the earliest start is next. So a tenant with many requests waits behind its own.
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
        """Number of waiting requests, including reserved places."""
        return self._num_reserved

    def reserve(self, max_waiting: int, running: int) -> None:
        """Reserve one of `max_waiting` places. Raises `Overloaded` when all are taken.

        The time to retry after is estimated from the duration of recent requests and the number `running`.
        """
        with self._lock:
            if self._num_reserved >= max_waiting:
                wait = min(
                    max(self._mean_seconds * self._num_reserved / max(running, 1), _MIN_RETRY_SECONDS),
                    _MAX_RETRY_SECONDS,
                )
                message = f"the queue is full ({self._num_reserved} requests wait): try again in {wait:.0f} seconds."
                raise Overloaded(message, wait)
            self._num_reserved += 1

    def release(self) -> None:
        """Give back a reserved place that holds no item."""
        with self._lock:
            self._num_reserved -= 1

    def push(self, item: T, claim: QueueClaim) -> None:
        """Put an item on a reserved place."""
        with self._lock:
            start = max(self._virtual_time, self._virtual_end_times.get(claim.tenant, 0.0))
            self._virtual_end_times[claim.tenant] = start + claim.cost
            heapq.heappush(self._heap, _Entry((claim.priority, start, next(self._order)), item))

    def pop(self, fits: Callable[[T], bool]) -> T | None:
        """Remove and return the next item if it fits. Nothing overtakes it, or a large item would wait for ever."""
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
        """Remove and return all items for which `predicate` holds."""
        with self._lock:
            removed = [entry.item for entry in self._heap if predicate(entry.item)]
            if removed:
                self._heap = [entry for entry in self._heap if not predicate(entry.item)]
                heapq.heapify(self._heap)
                self._num_reserved -= len(removed)
            return removed

    def record_duration(self, seconds: float) -> None:
        """Record how long a request ran."""
        self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)
