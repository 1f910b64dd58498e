#!/usr/bin/env bash
# An environment with lm-polygraph, which `heatbath bench trust` compares with: tools/polygraph_env.sh FOLDER
set -euo pipefail

folder=${1:?usage: tools/polygraph_env.sh FOLDER}

"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 lm-polygraph==0.7.0
printf 'HEATBATH_BENCH_POLYGRAPH=%s/bin/python\n' "$(cd "$folder" && pwd)"
