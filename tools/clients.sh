#!/usr/bin/env bash
# The newest releases of the clients that people use, each in an environment of its own, against a real `heatbath serve`
# with the default model: a few steps each (plain, stream, tools, structured output, log-probabilities), and a table of
# what came of them. The exit code is 1 if a step failed.
#
#   tools/clients.sh [--folder FOLDER] [--url URL] [CLIENT ...]
#
# Environments are made in FOLDER and kept for the next run; without it, in one that is removed. --url tries a server
# that runs already. Run it with the Python that heatbath is installed in.
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "$0")/clients/run.py" "$@"
