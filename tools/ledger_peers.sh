#!/usr/bin/env bash
# An environment with other Merkle logs, to compare ours with: tools/ledger_peers.sh FOLDER
# aics-tlog and aics-witness declare Python 3.12 and run on 3.11; pymerkle is under the GPL and stays in here.
set -euo pipefail

folder=${1:?usage: tools/ledger_peers.sh FOLDER}

"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet --ignore-requires-python aics-tlog==0.2.1 aics-witness==0.1.0 pymerkle==7.0.0
printf 'HEATBATH_BENCH_LEDGER_PEERS=%s/bin/python\n' "$(cd "$folder" && pwd)"
