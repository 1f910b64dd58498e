"""The example of the look-ahead paper (arXiv:2601.21590): planning wins under p^4, and loses at a low temperature."""

import numpy as np
import pytest

from heatbath.engine import generate
from heatbath.models import TableModel

PLAN, GUESS, FOUR, OTHER = range(4)
STEPS = {(): (0.4, 0.6, 0, 0), (PLAN,): (0, 0, 0.95, 0.05), (GUESS,): (0, 0, 0.55, 0.45)}
ANSWERS = [(PLAN, FOUR), (PLAN, OTHER), (GUESS, FOUR), (GUESS, OTHER)]
POWER = (0.5484, 0.0000, 0.3119, 0.1398)


def law(prefix):
    with np.errstate(divide="ignore"):
        return (-np.log(STEPS.get(prefix, (0.25,) * 4))).tolist()


TOY = TableModel(law, 2)


def shares(**asked) -> tuple[np.ndarray, float]:
    """Weighted share of each answer, and the number of answers these are worth."""
    out = generate(TOY, [], max_tokens=2, seed=2, **asked)
    weights = np.exp(out.weighted_samples.log_weight - out.weighted_samples.log_weight.max())
    found = [tuple(answer) for answer in out.sequences]
    total = np.asarray([weights[[each == answer for each in found]].sum() for answer in ANSWERS])
    return total / weights.sum(), weights.sum() ** 2 / (weights**2).sum()


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "smc", "particles": 1000, "replicates": 1},
        {"method": "smc", "particles": 1000, "replicates": 1, "ladder": 2},
        {"method": "metropolis", "chains": 800, "sweeps": 24},
        {"method": "lookahead", "n": 1000, "block": 1, "horizon": 1},
        {"method": "lookahead", "n": 1000, "block": 1, "horizon": 1, "jackknife": False},
    ],
)
def test_power_sampling_has_the_published_shares(asked):
    """Within five standard errors of each of four shares: error rate 2e-6."""
    found, size = shares(sampler="power", alpha=4.0, **asked)
    error = np.sqrt(np.asarray(POWER) * (1 - np.asarray(POWER)) / size)
    assert (np.abs(found - POWER) < 5 * error + 5e-5).all() and size > 200


def test_a_low_temperature_guesses():
    found, _ = shares(n=2000, temperature=0.25)
    assert abs(found[:2].sum() - 0.165) < 5 * np.sqrt(0.165 * 0.835 / 2000)
    assert abs(found[0] - POWER[0]) > 0.3
