"""Startup time of the import and of the command line, each in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line

IMPORT = "import time; start = time.perf_counter(); import heatbath; print(time.perf_counter() - start)"
HELP = "import sys; from heatbath.cli.main import main; sys.exit(main(['--help']))"


def lines(repeats: int = 7) -> Iterator[BenchmarkLine]:
    """Measure `import heatbath` inside a running interpreter, and the whole process of `heatbath --help`."""
    yield upper_limit_line("import heatbath", _compute_median(_measure_import, repeats), limit=0.2, unit="s")
    yield upper_limit_line("heatbath --help", _compute_median(_measure_help, repeats), limit=0.5, unit="s")


def _compute_median(measure: Callable[[], float], repeats: int) -> float:
    measure()  # The first process fills the file cache and writes the bytecode.
    return statistics.median(measure() for _ in range(repeats))


def _measure_import() -> float:
    """Return the seconds of the import, as the process itself measured them."""
    return float(_run_python(IMPORT))


def _measure_help() -> float:
    start = time.perf_counter()
    _run_python(HELP)
    return time.perf_counter() - start


def _run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
