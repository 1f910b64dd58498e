"""Memory that the C library keeps after it is freed, and how it goes back to the system.

glibc keeps freed memory for later, in one arena for each of many threads: after a peak a server would hold the peak for
ever. Elsewhere the functions do nothing.
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache
from typing import Any

MAX_ARENAS = 2
TRIM_SECONDS = 60.0
_M_ARENA_MAX = -8


@cache
def _load_glibc() -> Any:
    """Return the C library; None where it is not glibc."""
    try:
        library = ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None
    except OSError:
        return None
    return library if hasattr(library, "malloc_trim") else None


def limit_arenas() -> None:
    """Let threads share a few arenas, from now on: free memory in one is of no use to threads of another."""
    library = _load_glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, MAX_ARENAS)


def trim_heap() -> None:
    """Give free memory back to the system; takes some milliseconds."""
    library = _load_glibc()
    if library is not None:
        library.malloc_trim(0)


class HeapTrimmer:
    """Trims the heap of a process that works in steps: when it pauses, and every `TRIM_SECONDS` while it works on."""

    def __init__(self) -> None:
        self._last_time = time.monotonic()
        self._has_worked = False

    def end_step(self, *, is_idle: bool) -> None:
        """Trim the heap if that is due after a step; at a pause it is, unless nothing was done since the last time."""
        now = time.monotonic()
        self._has_worked = self._has_worked or not is_idle
        if self._has_worked and (is_idle or now >= self._last_time + TRIM_SECONDS):
            self._has_worked, self._last_time = not is_idle, now
            trim_heap()
