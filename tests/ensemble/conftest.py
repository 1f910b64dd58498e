"""What must be set before the tests of this folder are imported."""

import os
import sys
from pathlib import Path

import torch

# `ensembles` is found whatever pytest's import mode.
sys.path.insert(0, str(Path(__file__).parent))

# Triton reads this once, when it is first imported: without a device its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
