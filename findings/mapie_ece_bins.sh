#!/usr/bin/env bash
# Packages: MAPIE==1.6.0, scikit-learn==1.9.1
#
# Expected: `expected_calibration_error(y, p, num_bins=B)` compares confidence and accuracy in B
#   bins; one bin compares the two means; and the order of the rows does not matter.
# Happens: `num_bins=B` makes B ends, so that there are B - 1 bins (and one that holds exactly
#   the score 0). `num_bins=1`, which is accepted, gives NaN. With `split_strategy="array
#   split"` the scores are split in the order of the rows, so that the value depends on it.
# Seen on 2026-11-29:
#   two bins expected 0.3500, num_bins=2 gives 0.0000, num_bins=3 gives 0.3500
#   num_bins=1 gives nan
#   array split of five rows: 0.3700 sorted, 0.2700 in another order
# Source thread: none known.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MAPIE==1.6.0 scikit-learn==1.9.1
cat > "$folder/finding.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from mapie.metrics.calibration import expected_calibration_error

warnings.filterwarnings("ignore", category=RuntimeWarning)
print("MAPIE", version("MAPIE"), "scikit-learn", version("scikit-learn"))
scores, labels = np.array([0.1, 0.2, 0.8, 0.9]), np.array([1, 0, 1, 0])
expected = sum(abs(labels[half].mean() - scores[half].mean()) / 2 for half in (slice(0, 2), slice(2, 4)))
found = {bins: expected_calibration_error(labels, scores, num_bins=bins) for bins in (1, 2, 3)}
print(f"two bins expected {expected:.4f}, num_bins=2 gives {found[2]:.4f}, num_bins=3 gives {found[3]:.4f}")
print(f"num_bins=1 gives {found[1]}")
scores, labels = np.array([0.05, 0.15, 0.25, 0.35, 0.95]), np.array([0, 1, 0, 1, 1])
orders = np.arange(5), np.array([4, 0, 3, 1, 2])
split = [
    expected_calibration_error(labels[order], scores[order], num_bins=5, split_strategy="array split")
    for order in orders
]
print(f"array split of five rows: {split[0]:.4f} sorted, {split[1]:.4f} in another order")
ends = np.isclose(found[3], expected) and np.isclose(found[2], 0.0) and np.isnan(found[1])
if not (ends and np.allclose(split, [0.37, 0.27])):
    sys.exit("Changed: the bins of expected_calibration_error are no longer one less, or depend no longer on the rows.")
print("`num_bins` is the number of ends, one bin is NaN, and the bins of an array split follow the rows.")
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
