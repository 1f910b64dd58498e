#!/usr/bin/env bash
# An environment with langchain, which `heatbath bench retrieval` compares with: tools/langchain_env.sh FOLDER
set -euo pipefail

folder=${1:?usage: tools/langchain_env.sh FOLDER}

"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 langchain-community==0.4.2 langchain-huggingface==1.2.3 \
  langchain-text-splitters==1.1.3 sentence-transformers==6.2.0 lancedb==0.40.0
printf 'HEATBATH_BENCH_LANGCHAIN=%s/bin/python\n' "$(cd "$folder" && pwd)"
