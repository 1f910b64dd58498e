#!/usr/bin/env bash
# Packages: MAPIE==1.6.0, scikit-learn==1.9.1
#
# Expected: with one wrong answer among 20 predicted positives, the p-value of "the precision is
#   below 0.8" is P(Bin(20, 0.2) <= 1) = 0.0692, so that the threshold is valid at a confidence
#   level of 0.9.
# Happens: BinaryClassificationController computes the number of errors as
#   ceil(20 * (1 - 19/20)), which rounding makes ceil(1.0000000000000009) = 2. The Bentkus
#   p-value is then P(Bin(20, 0.2) <= 2) = 0.2061, Hoeffding's 0.1528 is the smaller of the
#   two, and no parameter is valid. Where the product comes out as it should (two of 20), the
#   p-value is the binomial one. The error is on the safe side, and costs power.
# Seen on 2026-11-29:
#   1 of 20 wrong: MAPIE 0.1528, binomial 0.0692, valid parameters []
#   2 of 20 wrong: MAPIE 0.2061, binomial 0.2061, valid parameters []
#   0 of 20 wrong: MAPIE 0.0115, binomial 0.0115, valid parameters [0.5]
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
from mapie.risk_control import BinaryClassificationController
from scipy.stats import binom

warnings.filterwarnings("ignore", category=UserWarning)
print("MAPIE", version("MAPIE"), "scikit-learn", version("scikit-learn"))
found = {}
for wrong in (1, 2, 0):
    controller = BinaryClassificationController(
        lambda features: np.hstack([1 - features, features]),
        "precision",
        target_level=0.8,
        confidence_level=0.9,
        list_predict_params=np.array([0.5]),
    )
    labels = np.arange(20) >= wrong
    controller.calibrate(np.full((20, 1), 0.7), labels.astype(int))
    found[wrong] = float(controller.p_values[0, 0]), float(binom.cdf(wrong, 20, 0.2))
    print(
        f"{wrong} of 20 wrong: MAPIE {found[wrong][0]:.4f}, binomial {found[wrong][1]:.4f},"
        f" valid parameters {controller.valid_predict_params.tolist()}"
    )
right = all(np.isclose(*found[wrong], rtol=1e-6) for wrong in (0, 2))
if not (right and found[1][0] > 0.1 > found[1][1]):
    sys.exit("Changed: the p-value of one error among 20 is no longer that of two.")
print("One error among 20 is counted as two: the product of its share and 20 is rounded up.")
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
