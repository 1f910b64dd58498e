"""Maps that come with the package: of exactly the weights of the catalog, with both edges."""

import pytest

from heatbath.models import load
from heatbath.phases.phase_map import load_bundled_map


@pytest.mark.weights
def test_the_map_of_the_default_model_is_of_its_weights():
    model = load("smollm2-135m")
    chart = load_bundled_map(model.name, model.fingerprint)
    assert chart is not None
    freeze, melt = chart.edge("freeze"), chart.edge("melt")
    assert 0 < freeze.temperature < melt.temperature


def test_other_weights_and_other_names_have_none():
    assert load_bundled_map("smollm2-135m", "sha256:0") is None
    assert load_bundled_map("../maps/smollm2-135m", "sha256:0") is None
