"""The contract suite of models, on the default model."""

from __future__ import annotations

from typing import Any

import pytest

from heatbath.testing import check_model


@pytest.mark.weights
def test_the_default_model_keeps_the_contract(smollm2: Any) -> None:
    sequences = [smollm2.encode(text) for text in ("The capital of France is Paris.", "Two and two make", "Water")]
    check_model(smollm2, sequences, tolerance=2e-3)
