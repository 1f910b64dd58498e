#!/usr/bin/env bash
# Packages: netcal==1.4.0, torch==2.13.0
#
# Expected: HistogramBinning gives a confidence the share of right answers in the bin that it was
#   counted in; and ECE with bins of equal mass takes confidences with ties.
# Happens: `fit` has bins [a, b), `transform` has bins (a, b]. A confidence on an end, such as
#   0.5 of two bins, is counted in the upper bin and gets the share of the lower one: with ties,
#   all such answers may be right, and their calibrated confidence 0. Bins of equal mass
#   raise ValueError in ECE as soon as ties make two ends equal.
# Seen on 2026-11-29:
#   0.25 was right in 0 of 1 and becomes 0.0
#   0.50 was right in 2 of 2 and becomes 0.0
#   0.75 was right in 1 of 1 and becomes 1.0
#   ECE of equal mass for 0.7 four times: ValueError: The smallest edge difference is numerically 0.
# Source thread: none known.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet netcal==1.4.0 torch==2.13.0
cat > "$folder/finding.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from netcal.binning import HistogramBinning
from netcal.metrics import ECE

print("netcal", version("netcal"), "torch", version("torch"))
scores, labels = np.array([0.25, 0.5, 0.5, 0.75]), np.array([0, 1, 1, 1])
calibrated = HistogramBinning(bins=2).fit(scores, labels).transform(scores)
for score in np.unique(scores):
    same = scores == score
    print(f"{score:.2f} was right in {labels[same].sum()} of {same.sum()} and becomes {calibrated[same][0]}")
try:
    ECE(10, equal_intervals=False).measure(np.full(4, 0.7), np.array([1, 0, 0, 0]))
    refused = False
except ValueError as error:
    refused = True
    print(f"ECE of equal mass for 0.7 four times: ValueError: {error}")
if not (np.allclose(calibrated, [0, 0, 0, 1]) and refused):
    sys.exit("Changed: HistogramBinning has the same bins in fit and transform, or ECE of equal mass takes ties.")
print("A confidence on an end is counted in one bin of HistogramBinning and calibrated by another.")
PYTHON
CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
