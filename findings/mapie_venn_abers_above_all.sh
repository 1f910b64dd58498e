#!/usr/bin/env bash
# Packages: MAPIE==1.6.0, scikit-learn==1.9.1
#
# Expected: of the two probabilities of a Venn-Abers predictor, p1 is the value of the isotonic
#   regression at the new object once it is called 1. An object whose score is above all of the
#   calibration is alone at the upper end when it is called 1, so that p1 = 1.
# Happens: VennAbersCalibrator gives it the p1 of the largest calibration score. The interval
#   [p0, p1] is too narrow there, and the probability p1/(1 - p0 + p1) too small. Everywhere
#   else, and at the lower end, both are those of the isotonic regressions.
# Seen on 2026-11-29:
#   score  0.10: MAPIE 0.0000 0.6667   isotonic regressions 0.0000 0.6667
#   score  0.50: MAPIE 0.3333 0.6667   isotonic regressions 0.3333 0.6667
#   score  0.70: MAPIE 0.3333 0.6667   isotonic regressions 0.3333 0.6667
#   score  0.90: MAPIE 0.3333 0.6667   isotonic regressions 0.3333 1.0000
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
from mapie.calibration import VennAbersCalibrator
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import IsotonicRegression

warnings.filterwarnings("ignore", category=RuntimeWarning)
print("MAPIE", version("MAPIE"), "scikit-learn", version("scikit-learn"))


class Given(ClassifierMixin, BaseEstimator):
    """The feature is the probability of class 1."""

    classes_ = np.array([0, 1])

    def fit(self, features, labels):
        return self

    def predict_proba(self, features):
        return np.hstack([1 - features, features])


scores, labels = np.array([0.3, 0.7]), np.array([1, 0])
places = np.array([0.1, 0.5, 0.7, 0.9])
calibrator = VennAbersCalibrator(Given(), cv="prefit").fit(scores[:, None], labels)
_, theirs = calibrator.predict_proba(places[:, None], p0_p1_output=True)
direct = np.array(
    [
        [
            IsotonicRegression().fit(np.append(scores, place), np.append(labels, label)).predict([place])[0]
            for label in (0, 1)
        ]
        for place in places
    ]
)
for place, mapie, isotonic in zip(places, theirs, direct):
    print(
        f"score  {place:.2f}: MAPIE {mapie[0]:.4f} {mapie[1]:.4f}"
        f"   isotonic regressions {isotonic[0]:.4f} {isotonic[1]:.4f}"
    )
same = np.isclose(theirs, direct)
if not (same[:-1].all() and same[-1, 0] and direct[-1, 1] == 1.0 and np.isclose(theirs[-1, 1], 2 / 3)):
    sys.exit("Changed: VennAbersCalibrator no longer gives the p1 of the largest calibration score above it.")
print("Above all calibration scores VennAbersCalibrator gives the p1 of the largest of them, not 1.")
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
