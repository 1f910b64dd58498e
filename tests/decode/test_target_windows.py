"""A target's window cuts where it cuts at the target's temperature, whatever the method draws at."""

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.decode import top_p
from heatbath.engine import generate
from heatbath.models import TableModel
from heatbath.models.exact.base import log_probabilities

TREE = TableModel.random(5, 4, 4, stop_token_ids=(3,), scale=1.5)
METHODS = [
    {"sampler": "power", "particles": 300},
    {"sampler": "power", "method": "metropolis", "chains": 100, "sweeps": 24},
    {"sampler": "power", "method": "lookahead", "n": 300, "block": 2, "horizon": 2},
    {"sampler": "anneal", "particles": 600, "ladder": 12},
    {"sampler": "tempering", "chains": 60, "ladder": 4, "sweeps": 24},
]


def kept(sequence: tuple[int, ...]) -> bool:
    """Whether every token is among the fewest that hold 0.7 of the probability at T = 1."""
    for t, token in enumerate(sequence):
        p = np.exp(log_probabilities(TREE.open([list(sequence[:t])]).energies()[0], 1.0))
        if p[p > p[token]].sum() >= 0.7:
            return False
    return True


INSIDE = np.asarray([kept(sequence) for sequence in TREE.sequences()])


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_aim_at_one_law(method):
    """Five standard errors: error rate 1e-6 each."""
    out = generate(TREE, [], max_tokens=4, alpha=3.0, window=top_p(0.7), seed=4, **method)
    inside = {sequence for sequence, kept_ in zip(TREE.sequences(), INSIDE, strict=True) if kept_}
    assert {tuple(answer) for answer in out.sequences} <= inside and 1 < len(inside) < len(INSIDE)
    exact = logsumexp(3.0 * TREE.logprobs()[INSIDE])
    estimate = out.weighted_samples.log_z  # r_hat of so few sweeps is above 1.1, so that `out.log_z` does not give it
    assert abs(estimate.value - exact) < 5 * estimate.stderr < 0.5
