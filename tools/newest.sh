#!/usr/bin/env bash
# The newest of everything that pip finds, our upper bounds lifted (that of torch stays: a newer one pulls in CUDA), then
# the tests that lean on other packages most: those that run a neural model, the clients and the shell of the server, the
# command line. Prints which package is ahead of its bound, and what failed; the exit code is that of the tests.
#
#   tools/newest.sh [FOLDER]   the environment is made in FOLDER and kept; without it, in one that is removed
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-}
if [[ -z $folder ]]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
[[ -e $folder/bin/python ]] || "${PYTHON:-python3}" -m venv "$folder"
python=$folder/bin/python

"$python" -m pip install --quiet packaging
"$python" tools/bounds.py lifted test >"$folder/requirements.txt"
"$python" -m pip install --quiet --upgrade --upgrade-strategy eager -r "$folder/requirements.txt"
"$python" -m pip install --quiet --no-deps --force-reinstall .

tests=0
"$python" -m pytest -q -m weights || tests=$?
"$python" -m pytest -q -m 'not weights and not slow' tests/models tests/serve tests/cli || tests=$?

printf '\n== ahead of their bounds\n'
"$python" tools/bounds.py ahead test
printf '\n== tests: %s\n' "$([[ $tests == 0 ]] && echo passed || echo 'FAILED, see above')"
exit "$tests"
