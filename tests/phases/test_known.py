"""Maps that come with the package: of exactly the weights of the catalog, with both edges."""

from pathlib import Path
from typing import Any

import pytest

import heatbath.phases
from heatbath.phases.phase_map import PhaseMap, load_bundled_map


@pytest.mark.weights
def test_the_map_of_the_default_model_is_of_its_weights(smollm2: Any) -> None:
    chart = load_bundled_map(smollm2.name, smollm2.fingerprint)
    assert chart is not None
    freeze, melt = chart.edge("freeze"), chart.edge("melt")
    assert freeze.interval is not None and melt.interval is not None, "an edge may be an interval without a temperature"
    assert freeze.interval[0] > 0 and freeze.interval[1] < melt.interval[1]


def test_other_weights_and_other_names_have_none():
    assert load_bundled_map("smollm2-135m", "sha256:0") is None
    assert load_bundled_map("../maps/smollm2-135m", "sha256:0") is None


def test_the_map_that_comes_with_the_package_can_be_read():
    """Whatever fields have been added since it was written."""
    chart = PhaseMap.load(Path(heatbath.phases.__file__).parent / "maps" / "smollm2-135m.json")
    assert chart.edge("melt").interval is not None and len(chart.curves) > 5
