"""What a benchmark line is, how two things are timed fairly, and which groups of lines there are.

A group is a module with a function `lines()` that yields a `Line` for each target; add it to `GROUPS`. Comparisons
are made in one process and one run, with the two sides taking turns, because a laptop or a shared machine changes
its speed by more between two runs than the ratios that matter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from heatbath.errors import BadInput

GROUPS = {
    "startup": "heatbath.bench.startup",
    "ensemble": "heatbath.bench.ensemble",
    "decode": "heatbath.bench.decode",
    "engine": "heatbath.bench.engine",
    "serve": "heatbath.bench.serve",
}


@dataclass(frozen=True)
class BenchmarkLine:
    """One target. `ours` and `theirs` are in `unit`; `ratio` is ours / theirs, or None where the target is absolute."""

    name: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    target: str
    met: bool


def upper_limit_line(name: str, ours: float, theirs: float | None = None, *, limit: float, unit: str) -> BenchmarkLine:
    """A line that is met when ours / theirs (or ours, where there is no theirs) is no more than `limit`."""
    ratio = None if theirs is None else ours / theirs
    met = (ours if ratio is None else ratio) <= limit
    return BenchmarkLine(name, ours, theirs, unit, ratio, f"<= {limit:g} {unit if ratio is None else 'x'}", met)


def lower_limit_line(name: str, ours: float, theirs: float | None = None, *, limit: float, unit: str) -> BenchmarkLine:
    """A line that is met when ours / theirs (or ours, where there is no theirs) is no less than `limit`."""
    ratio = None if theirs is None else ours / theirs
    met = (ours if ratio is None else ratio) >= limit
    return BenchmarkLine(name, ours, theirs, unit, ratio, f">= {limit:g} {unit if ratio is None else 'x'}", met)


def time_sides(sides: Mapping[str, Callable[[], object]], *, repeats: int = 9, pause: float = 0.02) -> dict[str, float]:
    """Median seconds of each side, timed in turn: a, b, a, b … after one untimed call of each.

    The pause between calls lets threads go back to sleep and the clock of the processor settle, so that no side pays
    for the one before it; the median drops the calls during which something else ran.
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


def run_groups(groups: Sequence[str] = ()) -> Iterator[BenchmarkLine]:
    """The lines of the named groups, all of them by default, as they are measured."""
    for name in groups or GROUPS:
        if name not in GROUPS:
            raise BadInput(f"There is no benchmark group {name!r}: choose from {', '.join(GROUPS)}.")
    for name in groups or GROUPS:
        yield from import_module(GROUPS[name]).lines()
