"""Puts this folder on the path, for what its tests share; intervals of summaries come from few replicas."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="module")
def few_replicas():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heatbath.trust.calibration.metric_summary._REPLICAS", 30)
        patch.setattr("heatbath.trust.calibration.signal_ranking.REPLICAS", 200)
        yield
