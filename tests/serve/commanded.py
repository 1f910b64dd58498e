"""`heatbath serve` itself, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from process import SOURCE, Running

MODEL = "smollm2-135m"
COMMAND = "import sys; from heatbath.cli.main import main; sys.exit(main())"


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Running]:
    """The command, with its data in `folder`, once it says that it answers."""
    command = [sys.executable, "-c", COMMAND, "serve", "--port", "0", "--dtype", "float32", "--json"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "HEATBATH_STORAGE__URL": f"sqlite:///{folder / 'answers.db'}",
        "HEATBATH_SERVER__LOG": "warning",
    }
    said = (folder / "said").open("w+")
    with (
        said,
        subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=said, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait(10)
                said.seek(0)
                raise RuntimeError("the server did not start:\n" + said.read())
            port = int(json.loads(line)["url"].rpartition(":")[2])
            yield Running(process.pid, port=port)
        finally:
            process.kill()
