#!/usr/bin/env bash
# Packages: lm-polygraph==0.7.0, torch==2.13.0
#
# Expected: the entropy of the meanings of samples lies between 0 and the log of the number of
#   meanings, whichever way it is estimated.
# Happens: `SemanticEntropy(entropy_estimation="direct")` adds -p ln p once for each sample, not
#   once for each class, so that five samples of two meanings have more than ln 2. The default,
#   `class_probability_estimation="sum"` without `use_unique_responses`, adds the probability
#   of a text that was drawn several times as often as it was drawn: the "probability" of a
#   class exceeds 1, and the entropy is negative.
# Seen on 2026-11-29:
#   shares 4/5 and 1/5 have the entropy 0.5004 nats, at most ln 2 = 0.6931
#   frequency, mean     0.5004
#   frequency, direct   1.0359
#   sum, mean          -0.1330
# Source thread: IINemo/lm-polygraph#223 (the negative values).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 lm-polygraph==0.7.0
cat > "$folder/finding.py" <<'PYTHON'
import math
import sys
from importlib.metadata import version

import numpy as np
from lm_polygraph.estimators import SemanticEntropy

print("lm-polygraph", version("lm-polygraph"), "torch", version("torch"))
stats = {
    "sample_texts": [["Paris", "Paris", "Paris", "It's Paris", "London"]],
    "sample_log_probs": [np.log([0.6, 0.6, 0.6, 0.3, 0.1]).tolist()],
    "semantic_classes_entail": {
        "sample_to_class": {0: {0: 0, 1: 0, 2: 0, 3: 0, 4: 1}},
        "class_to_sample": {0: [[0, 1, 2, 3], [4]]},
    },
}
entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
print(f"shares 4/5 and 1/5 have the entropy {entropy:.4f} nats, at most ln 2 = {math.log(2):.4f}")
found = {}
for probability, estimation in (("frequency", "mean"), ("frequency", "direct"), ("sum", "mean")):
    estimator = SemanticEntropy(class_probability_estimation=probability, entropy_estimation=estimation)
    found[probability, estimation] = float(estimator(stats)[0])
    print(f"{probability + ', ' + estimation:<18} {found[probability, estimation]:7.4f}")
if not (found["frequency", "direct"] > math.log(2) and found["sum", "mean"] < 0 and abs(found["frequency", "mean"] - entropy) < 1e-9):
    sys.exit("Changed: SemanticEntropy now lies between 0 and the log of the number of meanings.")
print("SemanticEntropy exceeds the log of the number of meanings (direct), or is negative (sum).")
PYTHON
CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/finding.py"
