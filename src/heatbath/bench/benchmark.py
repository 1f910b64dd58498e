"""Benchmark lines, the table of benchmark groups, and the timing of two sides in turn.

A group is a module with a function `lines()` that yields a `BenchmarkLine` for each target; add it to `GROUPS`.
Comparisons are made in one process and one run, with the two sides in turn, because the speed of a laptop or a shared
machine changes by more between two runs than the ratios of interest.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from heatbath.errors import BadInput, suggest_name

GROUPS = {
    "startup": "heatbath.bench.startup",
    "ensemble": "heatbath.bench.ensemble",
    "decode": "heatbath.bench.decode",
    "engine": "heatbath.bench.engine",
    "serve": "heatbath.bench.serve",
    "sweep": "heatbath.bench.sweep",
    "trust": "heatbath.bench.trust",
    "ledger": "heatbath.bench.ledger",
    "retrieval": "heatbath.bench.retrieval",
    "policy": "heatbath.bench.policy",
}


@dataclass(frozen=True)
class BenchmarkLine:
    """One target. `ours` and `theirs` are in `unit`; `ratio` is ours / theirs, None where the target is absolute."""

    name: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    target: str
    met: bool


def upper_limit_line(name: str, ours: float, theirs: float | None = None, *, limit: float, unit: str) -> BenchmarkLine:
    """Return a line that is met when ours / theirs (ours, where `theirs` is None) is at most `limit`."""
    ratio = None if theirs is None else ours / theirs
    met = (ours if ratio is None else ratio) <= limit
    return BenchmarkLine(name, ours, theirs, unit, ratio, f"<= {limit:g} {unit if ratio is None else 'x'}", met)


def lower_limit_line(name: str, ours: float, theirs: float | None = None, *, limit: float, unit: str) -> BenchmarkLine:
    """Return a line that is met when ours / theirs (ours, where `theirs` is None) is at least `limit`."""
    ratio = None if theirs is None else ours / theirs
    met = (ours if ratio is None else ratio) >= limit
    return BenchmarkLine(name, ours, theirs, unit, ratio, f">= {limit:g} {unit if ratio is None else 'x'}", met)


def time_sides(sides: Mapping[str, Callable[[], object]], *, repeats: int = 9, pause: float = 0.02) -> dict[str, float]:
    """Return the median seconds of each side, timed in turn: a, b, a, b … after one untimed call of each.

    The pause between calls lets threads sleep and the processor clock settle, so that no side is slowed by the one
    before it; the median ignores calls during which something else ran.
    """
    for call in sides.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            time.sleep(pause)
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


@contextmanager
def limit_torch_threads(count: int) -> Iterator[None]:
    """Set the number of threads of PyTorch, and restore it at the end."""
    import torch

    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def find_peer(name: str, variable: str, script: str) -> str | None:
    """Return the Python of the environment of the other side; without one, say that it is left out."""
    python = os.environ.get(variable)
    if not python:
        print(f"left out: {name} ({variable} is not set: {script} makes one)", file=sys.stderr)
        return None
    if not Path(python).exists():
        raise BadInput(f"{variable} is {python}, which does not exist: give the Python of its environment.")
    return python


def run_groups(groups: Sequence[str] = ()) -> Iterator[BenchmarkLine]:
    """Measure the named groups, all of them by default, and yield their lines."""
    for name in groups or GROUPS:
        if name not in GROUPS:
            raise BadInput(
                f"unknown benchmark group {name!r}{suggest_name(name, GROUPS)}: choose from {', '.join(GROUPS)}.",
                param="group",
            )
    for name in groups or GROUPS:
        yield from import_module(GROUPS[name]).lines()
