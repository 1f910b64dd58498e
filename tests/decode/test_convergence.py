"""No log Z and no mean without convergence, and errors that cover: from arrays to `hb.generate`."""

from functools import cache

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.engine import generate
from heatbath.errors import Unreliable
from heatbath.estimate import bar
from heatbath.estimate.convergence import assess_chains, autocorrelated_bridge_error
from heatbath.models import TableModel

TREE = TableModel.random(seed=6, size=3, length=6, stop_token_ids=(2,), scale=0.6)
MILD = TableModel.random(seed=2, size=3, length=2, scale=0.5)
UNMIXED = {
    "metropolis": {"sampler": "power", "method": "metropolis", "chains": 100, "sweeps": 16},
    "metropolis, too short to say": {"sampler": "power", "method": "metropolis", "chains": 100, "sweeps": 6},
    "one chain": {"sampler": "power", "method": "metropolis", "chains": 1, "sweeps": 16},
    "tempering": {"sampler": "tempering", "alpha": 4.0, "chains": 4, "ladder": 3, "sweeps": 16},
    "anneal": {"sampler": "anneal", "alpha": 4.0, "particles": 2, "ladder": 2},
    "power by populations": {"sampler": "power", "particles": 2, "replicates": 1},
    "lookahead": {"sampler": "power", "method": "lookahead", "n": 1, "candidates": 2, "rollouts": 1, "block": 2},
}


@cache
def unmixed(name):
    return generate(TREE, [], max_tokens=6, seed=0, record=None, **{"alpha": 4.0, **UNMIXED[name]})


@pytest.mark.parametrize("name", UNMIXED)
def test_a_run_that_has_not_converged_gives_samples_and_no_log_z(name):
    out = unmixed(name)
    with pytest.raises(Unreliable, match="not reliable: ") as caught:
        _ = out.log_z
    estimate = caught.value.estimate
    assert estimate == out.weighted_samples.log_z and str(estimate) in str(caught.value)
    with pytest.raises(Unreliable):
        _ = out.log_z_stderr
    assert out.reliable_log_z is None and out.unreliable_reason == str(caught.value)
    assert len(out.sequences) == len(out.texts) > 0 and "acceptance" in out.diagnostics


def test_the_case_of_a_hundred_short_chains():
    """Sixteen sweeps leave log Z several stated errors off; r_hat shows it."""
    out = unmixed("metropolis")
    estimate, exact = out.weighted_samples.log_z, logsumexp(4 * TREE.logprobs())
    assert abs(estimate.value - exact) > 2 * estimate.stderr and out.diagnostics["r_hat"] > 1.5
    with pytest.raises(Unreliable, match=rf"r_hat is {out.diagnostics['r_hat']:.2f}, above 1.1"):
        _ = out.log_z


def test_chains_that_have_mixed_give_log_z():
    """Five stated errors: error rate 1e-6 for each of three runs."""
    for options in (
        {"sampler": "power", "method": "metropolis", "chains": 8, "sweeps": 120},
        {"sampler": "tempering", "chains": 6, "ladder": 2, "sweeps": 120},
        {"sampler": "anneal", "particles": 60, "ladder": 3},
    ):
        out = generate(MILD, [], max_tokens=2, seed=1, alpha=1.5, record=None, **options)
        assert out.unreliable_reason == "" and out.reliable_log_z is not None
        assert abs(out.log_z - logsumexp(1.5 * MILD.logprobs())) < 5 * out.log_z_stderr < 0.5


def test_a_target_of_one_sequence_is_not_taken_for_chains_that_stand_still():
    certain = TableModel(lambda prefix: [0.0, np.inf], 2)
    for options in ({"sampler": "power", "method": "metropolis", "chains": 4}, {"sampler": "tempering"}):
        out = generate(certain, [], max_tokens=2, sweeps=20, **options)
        assert out.log_z == pytest.approx(0.0) and out.unreliable_reason == ""


def independence_chains(rng, log_weights, chains, steps):
    """First draws (c,) from q and a Metropolis chain (c, n) that proposes from q and targets q w."""
    states = rng.integers(len(log_weights), size=(steps + 1, chains))
    current = states[0]
    visited = np.empty((chains, steps))
    for t in range(steps):
        accept = np.log(rng.random(chains)) < log_weights[states[t + 1]] - log_weights[current]
        current = np.where(accept, states[t + 1], current)
        visited[:, t] = log_weights[current]
    return log_weights[states[0]], visited[:, steps // 2 :]


@pytest.mark.parametrize(("chains", "steps"), [(1, 800), (2, 400), (8, 100)])
def test_stated_errors_of_a_bridge_to_chains_cover(chains, steps):
    """150 runs: the root mean square of z is known to 6 %, and the errors to 10 %: 0.75 to 1.3 fails at a rate of 1e-3.

    The error for independent samples is the negative control.
    """
    rng = np.random.default_rng(5)
    log_weights = rng.normal(0, 1.6, 40)
    exact = logsumexp(log_weights) - np.log(40)
    z, naive = [], []
    for _ in range(150):
        first, visited = independence_chains(rng, log_weights, chains, steps)
        first = log_weights[rng.integers(40, size=200)]
        estimate = bar(first, visited.ravel())
        z.append((estimate.value - exact) / autocorrelated_bridge_error(estimate, first, visited))
        naive.append((estimate.value - exact) / estimate.stderr)
    assert 0.75 < np.sqrt(np.mean(np.square(z))) < 1.3
    assert np.sqrt(np.mean(np.square(naive))) > 1.35


def test_what_chains_are_assessed_by():
    rng = np.random.default_rng(0)
    mixed, apart = rng.normal(size=(4, 200)), rng.normal(size=(4, 200)) + np.arange(4)[:, None]
    yes, still = np.ones((4, 20)), np.ones((4, 20))
    assert assess_chains([mixed], yes).reason == "" and assess_chains([mixed], yes).ess > 400
    assert "r_hat is" in assess_chains([mixed, apart], yes).reason  # the worst quantity counts
    assert "effective steps" in assess_chains([np.tile([0.0, 1.0, 1.0, 0.0], (1, 2))], yes).reason
    assert "fewer than 4" in assess_chains([mixed[:, :3]], yes).reason
    assert "4.0 effective steps" in assess_chains([still], 0 * yes).reason  # one draw for each chain
    assert "4.0 effective steps" in assess_chains([still], yes[:, :5]).reason
    assert assess_chains([still], yes).reason == ""
