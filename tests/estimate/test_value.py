"""Estimate: what rests on too little is refused, and carried all the same."""

import pytest

from heatbath.errors import Unreliable
from heatbath.estimate import Estimate


def test_too_few_effective_samples_are_refused_with_the_number():
    estimate = Estimate(1.25, 0.5, 12.0)
    with pytest.raises(Unreliable, match=r"1.25 ± 0.5 rests on 12.0 effective samples, fewer than 30") as refused:
        estimate.require_reliable()
    assert refused.value.estimate is estimate


def test_enough_effective_samples_pass():
    estimate = Estimate(1.25, 0.5, 30.0)
    assert estimate.require_reliable() is estimate and estimate.require_reliable(10) is estimate
    assert str(estimate) == "1.25 ± 0.5"
