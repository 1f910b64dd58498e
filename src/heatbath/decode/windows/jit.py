"""The ensemble's way of compiling, with caches that watch this folder too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heatbath.ensemble.kernels import jit
from heatbath.ensemble.kernels.jit import Function


def compile_exact(function: Function) -> Function:
    """Compile exactly as written."""
    return _stamp_sources(jit.compile_exact(function))


def compile_reordered(function: Function) -> Function:
    """Compile with sums free to be reordered."""
    return _stamp_sources(jit.compile_reordered(function))


def _stamp_sources(kernel: Function) -> Function:
    """The kernel, its cache tied to the sources of this folder as well as to those of the ensemble's kernels."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    dispatcher: Any = kernel
    stamp = tuple((source.name, source.stat().st_mtime_ns, source.stat().st_size) for source in sources)
    dispatcher._cache._cache_file._source_stamp += stamp
    return kernel
