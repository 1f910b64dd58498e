"""How kernels are compiled, and how rows are shared among threads.

Kernels release the interpreter lock and get a slice of the rows each, on plain threads: numba's own thread pools do not
survive a fork or calls from several threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numba

from heatbath.ensemble.kernels.helpers import current_thread_workers

Function = TypeVar("Function", bound=Callable[..., Any])
WORK_PER_THREAD = 1 << 17
"""Elements below which another thread costs more than it saves."""


def compile_exact(function: Function) -> Function:
    """Compile exactly as written: what is inf or NaN stays so."""
    kernel: Function = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return _stamp_sources(kernel)


def compile_reordered(function: Function) -> Function:
    """Compile with sums free to be reordered (so that they vectorise), infinities still respected."""
    flags = {"reassoc", "contract", "nsz"}
    kernel: Function = numba.njit(nogil=True, cache=True, fastmath=flags, error_model="numpy")(function)
    return _stamp_sources(kernel)


def _stamp_sources(kernel: Function) -> Function:
    """The kernel, its cache on disk tied to every source of this folder: numba watches the kernel's own file alone."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    stamp = tuple((source.name, source.stat().st_mtime_ns, source.stat().st_size) for source in sources)
    dispatcher: Any = kernel
    dispatcher._cache._cache_file._source_stamp = stamp
    return kernel


def thread_count() -> int:
    """Processors this process may use, or fewer if torch was told to use fewer."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch = sys.modules.get("torch")
    return min(processors, torch.get_num_threads()) if torch is not None else processors


def run_row_kernel(kernel: Callable[..., Any], rows: int, work: int, *arguments: Any) -> None:
    """Run `kernel(start, stop, *arguments)` over all rows, `work` elements in all."""
    threads = max(1, min(thread_count(), rows, work // WORK_PER_THREAD))
    edges = [rows * i // threads for i in range(threads + 1)]
    failures: list[BaseException] = []

    def run(start: int, stop: int) -> None:
        try:
            kernel(start, stop, *arguments)
        except BaseException as failure:
            failures.append(failure)

    helpers = current_thread_workers(threads - 1)
    others = [helper.submit(partial(run, *edges[i : i + 2])) for i, helper in enumerate(helpers, 1)]
    run(edges[0], edges[1])
    for other in others:
        other.acquire()
    if failures:
        raise failures[0]
