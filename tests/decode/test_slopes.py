"""Theorems as slopes: errors fall with the number of particles and of rungs as they must.

Each exponent is fitted on a log-log scale to figures with jackknifed errors; it must lie within four standard errors
of its value (rate 6e-5), and the fit must be sharp enough to tell it from its neighbours.
"""

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.decode import SMC, Anneal, RowRandom, Target, Task
from heatbath.decode.sequences import evaluate_step
from heatbath.models import TableModel
from heatbath.testing.sequence_sampler import log_masses

MODEL = TableModel.random(31, 3, 5, stop_token_ids=(2,), scale=1.0)
POWER = Target(power=2.0)
LOG_Z = float(logsumexp(log_masses(POWER, MODEL)))


def finished(sampler, seed, model=MODEL):
    state = sampler.init(Task(model, [[]], model.tree.length, model.vocabulary.stop_token_ids))
    rng = RowRandom(seed, state.num_streams)
    while not state.is_finished:
        state, _ = evaluate_step(sampler, rng, state)
    return state


def log_z_errors(particles, count, seed=0):
    """Errors of log Z of independent populations, (count,)."""
    state = finished(SMC(POWER, particles, replicates=count, threshold=0.7), seed)
    return (
        logsumexp(state.log_weight[state.replicate_slots], axis=1) - np.log(particles) + state.accumulated_log_z - LOG_Z
    )


def jackknifed(statistic, samples, groups=20):
    """The logarithm of a statistic and its standard error."""
    parts = np.array_split(np.arange(len(samples)), groups)
    left = np.asarray([np.log(statistic(np.delete(samples, part))) for part in parts])
    return np.log(statistic(samples)), np.sqrt((groups - 1) * np.var(left))


def slope(sizes, points):
    """Exponent and its standard error, from (log figure, error) at each size."""
    x, (y, error) = np.log(sizes), np.transpose(points)
    weight = 1 / error**2
    centre = weight @ x / weight.sum()
    spread = weight @ (x - centre) ** 2
    return weight @ ((x - centre) * y) / spread, 1 / np.sqrt(spread)


def assert_exponent(found, expected, sharpness=0.06):
    value, stderr = found
    assert stderr < sharpness, f"the exponent is known to {stderr:.2g} only"
    assert abs(value - expected) < 4 * stderr, f"the exponent is {value:.3f} ± {stderr:.3f}, not {expected}"


@pytest.mark.parametrize(
    ("count", "sizes"), [(400, [8, 16, 32, 64]), pytest.param(1000, [64, 128, 256, 512], marks=pytest.mark.slow)]
)
def test_the_error_of_log_z_falls_with_the_root_of_the_particles(count, sizes):
    """The law is of large populations: at 8 to 64 particles, 4000 of each size show an exponent of -0.527 ± 0.006."""
    errors = [log_z_errors(size, count) for size in sizes]
    assert_exponent(slope(sizes, [jackknifed(np.std, found) for found in errors]), -0.5)


@pytest.mark.parametrize("count", [1200, pytest.param(30000, marks=pytest.mark.slow)])
def test_the_bias_of_log_z_is_half_its_variance_and_falls_as_one_over_the_particles(count):
    r"""$E[\log \hat Z] = \log Z - \sigma^2 / 2 + O(N^{-2})$: what is left must be within a tenth of the variance."""
    bias, sizes = [], [8, 16]
    for size in sizes:
        errors = log_z_errors(size, count, seed=1)
        stderr = errors.std() / np.sqrt(count)
        assert errors.mean() < -4 * stderr
        assert abs(errors.mean() + errors.var() / 2) < 4 * stderr + 0.1 * errors.var()
        bias.append((-errors.mean(), stderr))
    ratio = bias[1][0] / bias[0][0]
    error = ratio * np.hypot(bias[0][1] / bias[0][0], bias[1][1] / bias[1][0])
    assert abs(ratio - 0.5) < 4 * error + 0.05 and error < 0.2


def works(rungs, particles, sweeps=6, seed=0):
    """The work done on each answer, which moves enough at every rung to follow."""
    return finished(Anneal(POWER, particles=particles, ladder=rungs, sweeps=sweeps), seed).work


@pytest.mark.parametrize("particles", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_dissipation_falls_as_one_over_the_rungs(particles):
    r"""$E[W] + \log Z$, what is dissipated, is Var(W) / 2 when slow; both fall as one over the number of rungs."""
    rungs = [4, 8, 16]
    done = [works(count, particles) for count in rungs]
    assert_exponent(slope(rungs, [jackknifed(np.var, work) for work in done]), -1.0, 0.12)
    for work in done:
        lost, stderr = work.mean() + LOG_Z, work.std() / np.sqrt(particles)
        assert lost > 0
        assert abs(lost - work.var() / 2) < 4 * stderr + 0.25 * work.var()


def test_an_exponent_that_is_not_there_is_not_found():
    """Populations of which the mean of replicates is taken for the particles: the error stays."""
    errors = [log_z_errors(16, 400, seed) for seed in range(4)]
    value, stderr = slope([8, 16, 32, 64], [jackknifed(np.std, found) for found in errors])
    assert abs(value + 0.5) > 4 * stderr and abs(value) < 4 * stderr
