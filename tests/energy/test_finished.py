"""The potential of answers that end by themselves, and what it makes of the border of length."""

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.energy import Context
from heatbath.energy.potentials import TruncationPenalty
from heatbath.engine import generate
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.testing.potential import CHECKS, check_stop

TREE = TableModel.random(2, 3, 5, stop_token_ids=(2,))


def test_contract():
    """All but one clause: whether there is a stop token is what this potential is about."""
    context = Context([[0, 2], [0, 1], [1]], [0, 0, 1], 3, (2,), [True, True, False])
    for check in CHECKS:
        if check is not check_stop:
            check(TruncationPenalty(), context, 1e-9)
    whole = Context([[0, 2], [0, 1], []], [0, 0, 0], 3, (2,), [True, True, True])
    assert TruncationPenalty()(whole).tolist() == [0.0, np.inf, np.inf]
    assert TruncationPenalty(2.5)(whole).tolist() == [0.0, 2.5, 2.5]


def test_log_z_is_the_log_probability_of_fitting():
    """Five standard errors: error rate 1e-6."""
    fits = [sequence[-1] == 2 for sequence in TREE.sequences()]
    exact = logsumexp(TREE.logprobs()[fits])
    out = generate(TREE, [], max_tokens=5, sampler="smc", particles=500, potentials=TruncationPenalty(), seed=1)
    assert abs(out.log_z - exact) < 5 * out.log_z_stderr < 0.5
    alive = np.isfinite(out.weighted_samples.log_weight)
    assert [finish == "stop" for finish in out.finish_reasons] == alive.tolist() and not alive.all()


def test_bad_weights_are_refused():
    with pytest.raises(BadInput, match="-1"):
        TruncationPenalty(-1)
