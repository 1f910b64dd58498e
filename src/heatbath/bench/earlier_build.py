"""A checkout of an earlier commit that benchmarks compare with: its sources, run by this Python with its packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from heatbath.errors import BadInput, HeatbathError

EARLIER_VARIABLE = "HEATBATH_BENCH_BEFORE"
"""Environment variable with a checkout of an earlier commit."""
_COMMAND = "import sys; from heatbath.cli.main import main; sys.exit(main(sys.argv[1:]))"


def find_earlier_source() -> Path | None:
    """Return the sources of the earlier build, None where none is named. Raises `BadInput` for a folder without."""
    given = os.environ.get(EARLIER_VARIABLE)
    if not given:
        return None
    source = Path(given).expanduser().absolute() / "src"
    if not (source / "heatbath" / "__init__.py").is_file():
        raise BadInput(f"{EARLIER_VARIABLE} is {given}, which holds no src/heatbath: give a checkout of heatbath.")
    return source


def build_environment(source: Path | None) -> dict[str, str]:
    """Return the variables with which this Python runs the sources of a build; None is the build that measures."""
    own = Path(__file__).parents[2]
    return {"PYTHONPATH": os.pathsep.join([str(source or own), *filter(None, [os.environ.get("PYTHONPATH")])])}


def run_command(source: Path | None, *arguments: str) -> str:
    """Run the command line of a build in a fresh process, and return what it printed.

    Raises:
        HeatbathError: the command failed; the message ends with its last line.
    """
    run = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments],
        env=os.environ | build_environment(source),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise HeatbathError(f"`heatbath {arguments[0]}` of {source or 'this build'} failed: {last}")
    return run.stdout
