"""Decorators that compile a function with numba and cache the machine code on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

from heatbath.kernels.kernel_cache import CheckedCacheFile

Function = TypeVar("Function", bound=Callable[..., Any])
Stamp = tuple[tuple[str, int, int], ...]


def jit(function: Function) -> Function:
    """Compile with strict floating-point semantics: inf and NaN propagate as written."""
    kernel: Function = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return _tie_cache_to_sources(kernel)


def jit_reassoc(function: Function) -> Function:
    """Compile with sums free to be reordered, so that they vectorise; infinities are still respected."""
    flags = {"reassoc", "contract", "nsz"}
    kernel: Function = numba.njit(nogil=True, cache=True, fastmath=flags, error_model="numpy")(function)
    return _tie_cache_to_sources(kernel)


def _tie_cache_to_sources(kernel: Function) -> Function:
    """Invalidate the kernel's cache when it is damaged, or a source of this package or of the kernel's folder changes.

    numba watches the kernel's own file alone, but the code that it calls is compiled into it.
    """
    dispatcher: Any = kernel
    folder = Path(dispatcher.py_func.__code__.co_filename).parent
    cache_file = dispatcher._cache._cache_file
    cache_file.__class__ = CheckedCacheFile
    cache_file._source_stamp = _stamp(Path(__file__).parent) + _stamp(folder)
    return kernel


@cache
def _stamp(folder: Path) -> Stamp:
    """Name, time of modification and size of each source in a folder."""
    sources = [(source.name, source.stat()) for source in sorted(folder.glob("*.py"))]
    return tuple((name, status.st_mtime_ns, status.st_size) for name, status in sources)
