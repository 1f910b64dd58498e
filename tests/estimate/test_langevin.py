"""Langevin chains: ULA's known bias and its slope, MALA's exact moments, and twins that are found out.

Walkers start in the target's own law, so that an exact kernel leaves every moment where it was: with n of them a mean
is known to its standard deviation over sqrt(n). A test of six moments at 4.5 of these fails by chance in 4e-5 of seeds.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from heatbath.errors import BadInput, NotANumber
from heatbath.estimate.langevin import MALA, ULA, DualAveraging, run_kernel, tune_step_size
from heatbath.estimate.mcmc_diagnostics import estimate_mean

GRID = np.linspace(-6, 6, 20_001)
N = 60_000


def energy(x):
    """A spring of stiffness 2 along the first axis, a tilted double well along the second, coupled to nothing."""
    U = x[:, 0] ** 2 + x[:, 1] ** 4 / 4 - x[:, 1] ** 2 + 0.2 * x[:, 1]
    return U, np.stack([2 * x[:, 0], x[:, 1] ** 3 - 2 * x[:, 1] + 0.2], axis=1)


def spring(x):
    return 0.5 * (x**2).sum(1), x


def well_law(beta: float) -> np.ndarray:
    p = np.exp(-beta * (GRID**4 / 4 - GRID**2 + 0.2 * GRID))
    return p / p.sum()


def exact_walkers(seed: int, beta: float, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    well = np.interp(rng.random(n), np.cumsum(well_law(beta)), GRID)
    return np.stack([rng.normal(0, np.sqrt(0.5 / beta), n), well], axis=1)


def z_scores(x, beta: float) -> np.ndarray:
    """Mean and square of both axes, mean energy and its square, less the exact values, in standard deviations."""
    p, spread = well_law(beta), np.sqrt(0.5 / beta)
    first = np.array([0.0, spread**2])
    well = np.array([p @ GRID, p @ GRID**2])
    E = energy(x)[0]
    V = energy(np.stack([np.zeros_like(GRID), GRID], axis=1))[0]
    mean_E, var_E = 0.5 / beta + p @ V, 0.5 / beta**2 + p @ V**2 - (p @ V) ** 2
    found = np.stack([x[:, 0], x[:, 0] ** 2, x[:, 1], x[:, 1] ** 2, E, (E - mean_E) ** 2])
    expected = np.concatenate([first, well, [mean_E, var_E]])
    return (found.mean(1) - expected) / (found.std(1) / np.sqrt(x.shape[0]))


def after(kernel, beta: float, steps: int = 6, seed: int = 0) -> np.ndarray:
    """The z-scores of walkers that have left the target's law by some steps of a kernel."""
    walkers = kernel.init(exact_walkers(seed, beta))
    rng = np.random.default_rng(seed + 100)
    return z_scores(run_kernel(kernel, walkers, steps=steps, rng=rng).final_walkers.positions, beta)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("step_size", [0.05, 0.4])
def test_mala_leaves_every_moment_where_it_was(step_size, beta):
    assert np.abs(after(MALA(energy, step_size, beta), beta)).max() < 4.5


@dataclass(frozen=True)
class NoHastings(MALA):
    """Accepts on energies alone, as if the move were symmetric."""

    def _log_proposal(self, start, end):
        return np.zeros(len(end))


@pytest.mark.parametrize(
    "twin", [NoHastings(energy, 0.4), MALA(energy, 0.4, beta=1.05), ULA(energy, 0.1)], ids=["hastings", "beta", "ULA"]
)
def test_biased_twins_are_seen(twin):
    assert np.abs(after(twin, 1.0)).max() > 6


def test_the_law_of_ula_is_the_known_one_and_its_bias_has_slope_one():
    """Variance 1/(1 - h/2): 4e5 walkers know it to 0.2 %; the slope of log bias against log h to 3 %, from 1.03."""
    steps, bias = np.array([0.05, 0.1, 0.2]), []
    for h in steps:
        rng = np.random.default_rng(int(1000 * h))
        kernel = ULA(spring, float(h))
        walkers = kernel.init(rng.normal(size=(400_000, 1)))
        for _ in range(int(3 / h)):
            walkers, chance = kernel.step(rng, walkers)
        variance = walkers.positions.var()
        assert (chance == 1).all()
        assert variance == pytest.approx(1 / (1 - h / 2), rel=4.5 * np.sqrt(2 / 400_000) + 0.003 * h)
        bias.append(variance - 1)
    assert np.polyfit(np.log(steps), np.log(bias), 1)[0] == pytest.approx(1.05, abs=0.15)


def test_chains_estimate_moments_within_their_errors():
    """From a far start, by one long run of a few walkers: |z| < 4 fails by chance in 6e-5 of seeds."""
    rng = np.random.default_rng(3)
    kernel = MALA(energy, 0.3, beta=0.7)
    kernel, walkers = tune_step_size(kernel, kernel.init(np.full((8, 2), 2.5)), steps=300, acceptance=0.6, rng=rng)
    chains = run_kernel(kernel, walkers, steps=3000, rng=rng)
    found = estimate_mean(chains.positions[:, :, 1] ** 2)
    assert abs(found.value - well_law(0.7) @ GRID**2) < 4 * found.stderr < 0.2
    assert chains.positions.shape == (8, 3000, 2)
    assert chains.acceptance == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("start", [1e-4, 0.3, 30.0])
def test_warming_up_finds_the_step_for_an_acceptance(start):
    rng = np.random.default_rng(0)
    kernel = MALA(spring, start)
    kernel, walkers = tune_step_size(kernel, kernel.init(np.zeros((64, 5))), steps=400, acceptance=0.574, rng=rng)
    assert run_kernel(kernel, walkers, steps=200, rng=rng).acceptance == pytest.approx(0.574, abs=0.04)


def test_dual_averaging_is_the_published_recursion():
    """Two steps by hand."""
    one = DualAveraging.from_step_size(0.5).update(0.2)
    assert one.log_step == pytest.approx(np.log(5) - 1 / 0.05 * 0.2 / 11)
    assert one.average_log_step == pytest.approx(one.log_step)
    two = one.update(-0.1)
    assert two.log_step == pytest.approx(np.log(5) - np.sqrt(2) / 0.05 * 0.1 / 12)
    share = 2**-0.75
    assert two.average_log_step == pytest.approx(share * two.log_step + (1 - share) * one.average_log_step)


def half_space(x):
    """A wall at zero, with a gradient that is nothing to be used beyond it."""
    inside = x[:, 0] > 0
    return np.where(inside, x[:, 0], np.inf), np.where(inside[:, None], 1.0, np.nan)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_walkers_never_cross_a_wall(beta):
    rng = np.random.default_rng(1)
    kernel = MALA(half_space, 0.3, beta)
    chains = run_kernel(kernel, kernel.init(rng.exponential(size=(20_000, 1))), steps=10, rng=rng)
    assert (chains.positions > 0).all()
    if beta == 1:
        assert chains.final_walkers.positions.mean() == pytest.approx(1, abs=4.5 / np.sqrt(20_000))
    with pytest.raises(BadInput, match="has energy inf: start where"):
        run_kernel(ULA(half_space, 0.3), kernel.init(np.full((50, 1), 0.1)), steps=5, rng=rng)


def test_same_seed_same_chain_and_nothing_is_changed_in_place():
    start = exact_walkers(0, 1.0, 10)
    kernel, kept = MALA(energy, 0.2), start.copy()
    first, second = (run_kernel(kernel, kernel.init(start), steps=5, rng=np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(start, kept)
    assert not np.array_equal(first.positions[:, 0], first.positions[:, 4])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: MALA(spring, 0.0), BadInput, "`step_size` must be .*, got 0.0"),
        (lambda: ULA(spring, 0.1, beta=-1.0), BadInput, "`beta` must be .*, got -1.0"),
        (lambda: MALA(spring, 0.1).init(np.zeros(3)), BadInput, "positions must have shape .*, got \\(3,\\)"),
        (
            lambda: MALA(lambda x: (x, x), 0.1).init(np.zeros((3, 2))),
            BadInput,
            "energies and gradients must have shapes",
        ),
        (lambda: MALA(half_space, 0.1).init(-np.ones((1, 1))), BadInput, "walker 0 has energy inf"),
        (lambda: MALA(lambda x: (x[:, 0] * np.nan, x), 0.1).init(np.zeros((2, 1))), NotANumber, "walker 0 is not a"),
        (lambda: run_kernel(ULA(spring, 0.1), None, steps=0, rng=None), BadInput, "`steps` must be at least 1, got 0"),
        (
            lambda: tune_step_size(MALA(spring, 0.1), None, steps=0, acceptance=0.5, rng=None),
            BadInput,
            "`steps` must be at least 1, got 0",
        ),
        (
            lambda: tune_step_size(MALA(spring, 0.1), None, steps=9, acceptance=1.0, rng=None),
            BadInput,
            "`acceptance` must be .*, got 1.0",
        ),
    ],
)
def test_what_cannot_drive_a_chain(call, error, match):
    with pytest.raises(error, match=match):
        call()
    assert replace(MALA(spring, 0.1), beta=2.0).beta == 2
