#!/usr/bin/env bash
# Environments with netcal, cci-sdk and lm-polygraph, and their values for tests/trust/test_oracles.py:
# tools/trust_oracles.sh FOLDER. MAPIE is compared with live, in tests/trust/test_mapie.py.
set -euo pipefail

folder=${1:?usage: tools/trust_oracles.sh FOLDER}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"

make_env() { # NAME REQUIREMENT...
  "${PYTHON:-python3}" -m venv "$folder/$1"
  "$folder/$1/bin/pip" install --quiet "${@:2}"
}

make_env netcal torch==2.13.0 netcal==1.4.0
make_env cci cci-sdk==0.1.1
bash "$root/tools/polygraph_env.sh" "$folder/polygraph"

for name in netcal cci polygraph; do
  OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$folder/$name/bin/python" "$root/tools/trust_oracles.py" "$name" > "$folder/$name.json"
  mv "$folder/$name.json" "$root/tests/trust/oracles/$name.json"
done
