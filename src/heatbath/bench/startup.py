"""How long a person waits before anything happens, each in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from heatbath.bench.base import Line, at_most

IMPORT = "import time; start = time.perf_counter(); import heatbath; print(time.perf_counter() - start)"
HELP = "import sys; from heatbath.cli.main import main; sys.exit(main(['--help']))"


def lines(repeats: int = 7) -> Iterator[Line]:
    """`import heatbath` inside a running interpreter, and the whole process of `heatbath --help`."""
    yield at_most("import heatbath", _median(_import_seconds, repeats), limit=0.2, unit="s")
    yield at_most("heatbath --help", _median(_help_seconds, repeats), limit=0.5, unit="s")


def _median(measure: Callable[[], float], repeats: int) -> float:
    measure()  # the first process fills the file cache and writes the bytecode
    return statistics.median(measure() for _ in range(repeats))


def _import_seconds() -> float:
    return float(_python(IMPORT))


def _help_seconds() -> float:
    start = time.perf_counter()
    _python(HELP)
    return time.perf_counter() - start


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
