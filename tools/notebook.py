"""Execute docs/tutorial.ipynb and store its outputs. With --check: execute it, and change nothing.

Run after a change that the notebook shows: python tools/notebook.py, then read the diff. Needs pip install '.[test]'.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "tutorial.ipynb"
CELL_SECONDS = 600
"""Time after which a cell counts as hung; all cells together take well under a minute on two cores."""


def read_notebook(path: Path = NOTEBOOK) -> Any:
    """Read a notebook file."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def execute_notebook(notebook: Any, folder: Path) -> Any:
    """Execute every cell in `folder` and return the notebook with the new outputs.

    An error of a cell is raised as `nbclient.exceptions.CellExecutionError`.
    """
    # A kernel is a process of its own; what it writes about debuggers and frozen modules is not of interest here.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )  # fmt: skip
    return client.execute()


def strip_metadata(notebook: Any) -> Any:
    """Remove what differs from machine to machine, so that a diff shows the outputs alone."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def main() -> int:
    """Execute the notebook, and write it unless asked only to check."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        notebook = execute_notebook(read_notebook(), Path(folder))
    if "--check" not in sys.argv[1:]:
        nbformat.write(strip_metadata(notebook), NOTEBOOK)  # type: ignore[no-untyped-call]
        print(f"wrote {NOTEBOOK}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
