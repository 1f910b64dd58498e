"""Driven walkers: ratios known exactly, by quadrature and by z-test; without the correction both tests fail."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.hamiltonian import HMC
from heatbath.estimate.jarzynski import (
    WeightedWalkers,
    bound_log_ratio,
    build_move,
    interpolate_energies,
    run_annealed_importance_sampling,
    run_corrected_langevin,
)
from heatbath.estimate.langevin import MALA, ULA

STEPS, H, N = 30, 0.12, 100_000
GRID = np.linspace(-30, 30, 60_001)
EXACT = np.log(0.25)


def gaussian(precision: float):
    def energy(x):
        return 0.5 * precision * (x**2).sum(1), precision * x

    return energy


def path(steps: int = STEPS):
    """Two dimensions, precision one to four: Z falls to a quarter, E x^2 of either axis too."""
    return [gaussian(p) for p in np.linspace(1, 4, steps + 1)]


def uncorrected(energies, start, h: float, rng) -> WeightedWalkers:
    """The twin: the work of each change of energy alone, as if ULA left the law as it is."""
    x, log_w = start, np.zeros(len(start))
    for before, after in pairwise(energies):
        x = x - h * before(x)[1] + np.sqrt(2 * h) * rng.standard_normal(x.shape)
        log_w = log_w + before(x)[0] - after(x)[0]
    return WeightedWalkers(x, log_w)


def z_scores(driven: WeightedWalkers) -> tuple[float, float]:
    ratio, square = driven.log_ratio, driven.estimate_mean(driven.positions[:, 0] ** 2)
    return (ratio.value - EXACT) / ratio.stderr, (square.value - 0.25) / square.stderr


def test_corrected_langevin_finds_ratio_and_mean_at_a_coarse_step():
    """Two z below four: a false alarm in 1.3e-4 of seeds. Without the correction, 0.212 and 0.33."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(N, 2))
    driven = run_corrected_langevin(path(), start, step=H, rng=rng)
    assert np.abs(z_scores(driven)).max() < 4
    assert driven.log_ratio.stderr < 0.01
    twin = uncorrected(path(), start, H, rng)
    assert np.abs(z_scores(twin)).min() > 20
    assert np.exp(twin.log_ratio.value) == pytest.approx(0.212, abs=0.01)


class Nodes:
    """A generator of which the noise is that of a quadrature rule."""

    def __init__(self, *noise):
        self.noise = list(noise)

    def standard_normal(self, shape):
        return self.noise.pop(0).reshape(shape)


def rough(shift: float, scale: float):
    """Neither harmonic nor symmetric."""

    def energy(x):
        return (
            0.5 * ((x[:, 0] - shift) / scale) ** 2 + 0.4 * np.cos(2 * x[:, 0] + shift),
            (x - shift) / scale**2 - 0.8 * np.sin(2 * x + shift),
        )

    return energy


def log_z(energy) -> float:
    return float(np.log(np.exp(-energy(GRID[:, None])[0]).sum() * (GRID[1] - GRID[0])))


@pytest.mark.parametrize("steps", [[0.1], [0.3], [0.05, 0.2]])
def test_the_identity_holds_exactly_for_any_step_and_any_change(steps):
    """E[e^A] = Z_K / Z_0 and E[f e^A] = <f> Z_K / Z_0, all integrals by Gauss and Hermite."""
    nodes, w = np.polynomial.hermite_e.hermegauss(56)
    start, *noise = (g.ravel() for g in np.meshgrid(*[nodes] * (len(steps) + 1), indexing="ij"))
    weight = np.prod(np.meshgrid(*[w / w.sum()] * (len(steps) + 1), indexing="ij"), axis=0).ravel()
    energies = [gaussian(1.0), rough(0.3, 0.9), rough(0.5, 0.8)][: len(steps) + 1]
    exact = log_z(energies[-1]) - log_z(energies[0])
    driven = run_corrected_langevin(energies, start[:, None], step=np.array(steps), rng=Nodes(*noise))
    ratio = weight @ np.exp(driven.log_weights)
    assert np.log(ratio) == pytest.approx(exact, abs=2e-6)
    p, f = np.exp(-energies[-1](GRID[:, None])[0]), np.exp(driven.log_weights) * np.sin(driven.positions[:, 0])
    assert weight @ f / ratio == pytest.approx(p @ np.sin(GRID) / p.sum(), abs=1e-5)
    twin = uncorrected(energies, start[:, None], steps[-1], Nodes(*noise))
    assert abs(np.log(weight @ np.exp(twin.log_weights)) - exact) > 1e-4


def test_going_back_along_a_path_turns_the_sign_of_its_work():
    """Crooks, path by path: the reverse process over the same places has minus the log-weight."""
    energies, steps = [gaussian(1.0), rough(0.3, 0.9), rough(0.5, 0.8), rough(-1.0, 0.5)], np.array([0.1, 0.3, 0.2])
    rng = np.random.default_rng(1)
    places = [rng.normal(size=(9, 1)) for _ in range(4)]

    def noise(k, start, end, h):
        return (end - start + h * energies[k](start)[1]) / np.sqrt(2 * h)

    there = Nodes(*[noise(k, places[k], places[k + 1], steps[k]) for k in range(3)])
    back = Nodes(*[noise(k + 1, places[k + 1], places[k], steps[k]) for k in (2, 1, 0)])
    forward = run_corrected_langevin(energies, places[0], step=steps, rng=there)
    reverse = run_corrected_langevin(energies[::-1], places[3], step=steps[::-1], rng=back)
    assert np.allclose(forward.positions, places[3]) and np.allclose(reverse.positions, places[0])
    assert np.allclose(forward.log_weights, -reverse.log_weights, atol=1e-12)


def both_ways(drive, n: int = 4000, steps: int = 12):
    rng = np.random.default_rng(7)
    forward = drive(path(steps), rng.normal(size=(n, 2)), rng)
    return bound_log_ratio(forward, drive(path(steps)[::-1], rng.normal(size=(n, 2)) / 2, rng))


DRIVES = {
    "langevin": lambda p, x, rng: run_corrected_langevin(p, x, step=0.1, rng=rng),
    "mala": lambda p, x, rng: run_annealed_importance_sampling(
        p, x, move=build_move(partial(MALA, step_size=0.2), steps=2, rng=rng)
    ),
    "hmc": lambda p, x, rng: run_annealed_importance_sampling(
        p, x, move=build_move(partial(HMC, step_size=0.3, leapfrog_steps=3), steps=1, rng=rng)
    ),
}


@pytest.mark.parametrize("drive", DRIVES)
def test_both_ends_bound_the_ratio_and_bennett_lies_between(drive):
    found = both_ways(DRIVES[drive])
    assert found.lower.value + 4 * found.lower.stderr < EXACT < found.upper.value - 4 * found.upper.stderr
    assert abs(found.value.value - EXACT) < 4 * found.value.stderr < 0.1


def test_a_move_that_changes_the_law_is_seen():
    """The negative control: ULA as if it left each law as it is, at a step of 0.2."""

    def careless(p, x, rng):
        return run_annealed_importance_sampling(p, x, move=build_move(partial(ULA, step_size=0.2), steps=2, rng=rng))

    found = both_ways(careless)
    assert abs(found.value.value - EXACT) > 6 * found.value.stderr


def exact_move(rng):
    def move(energy, x):
        precision = 2 * energy(np.array([[1.0, 0.0]]))[0][0]
        return rng.normal(size=x.shape) / np.sqrt(precision)

    return move


def test_dissipation_falls_as_one_over_the_steps():
    """With perfect moves E[W] is known, and its excess over the free energy has slope -1 in the number of steps."""
    counts, excess = np.array([8, 16, 32, 64]), []
    for steps in counts:
        rng = np.random.default_rng(int(steps))
        driven = run_annealed_importance_sampling(path(int(steps)), rng.normal(size=(20_000, 2)), move=exact_move(rng))
        precision = np.linspace(1, 4, steps + 1)
        work = driven.mean_work
        assert abs(work.value - (precision[1:] / precision[:-1] - 1).sum()) < 4 * work.stderr
        assert abs(driven.log_ratio.value - EXACT) < 4 * driven.log_ratio.stderr
        excess.append(work.value + EXACT)
    assert np.polyfit(np.log(counts), np.log(excess), 1)[0] == pytest.approx(-1, abs=0.1)


def wall(x):
    """The half space, with nothing to be used as a gradient outside."""
    inside = x[:, 0] > 0
    return np.where(inside, 0.5 * x[:, 0] ** 2, np.inf), np.where(inside[:, None], x, np.nan)


def test_walkers_that_meet_a_wall_weigh_nothing():
    rng = np.random.default_rng(2)
    energies = interpolate_energies(gaussian(1.0), wall, np.linspace(0, 1, 4))
    driven = run_annealed_importance_sampling(
        energies, rng.normal(size=(4000, 1)), move=build_move(partial(MALA, step_size=0.1), steps=1, rng=rng)
    )
    ratio = driven.log_ratio
    assert abs(ratio.value - np.log(0.5)) < 4 * ratio.stderr
    assert ratio.ess == pytest.approx(2000, rel=0.1)
    assert driven.mean_work.value == np.inf and np.isnan(driven.mean_work.stderr)
    found = driven.estimate_mean(driven.positions[:, 0])
    assert abs(found.value - np.sqrt(2 / np.pi)) < 4 * found.stderr


def test_all_walkers_outside_are_a_sentence():
    dead = run_annealed_importance_sampling([gaussian(1.0), wall], -np.ones((5, 1)), move=lambda energy, x: x)
    with pytest.raises(BadInput, match="every walker reached a forbidden position"):
        dead.estimate_mean(np.ones(5))
    with pytest.raises(Unreliable):
        dead.log_ratio.require_reliable()
    with pytest.raises(Unreliable, match="no sample of one side"):
        bound_log_ratio(dead, dead)


def test_a_move_lies_between_each_two_changes_of_the_energy_and_none_after_the_last():
    asked = []

    def move(energy, x):
        asked.append(energy(np.array([[1.0]]))[0][0])
        return x + 1

    driven = run_annealed_importance_sampling([gaussian(p) for p in (2.0, 4.0, 6.0, 8.0)], np.zeros((2, 1)), move=move)
    assert asked == [2.0, 3.0]
    assert driven.positions.tolist() == [[2.0], [2.0]]
    assert driven.log_weights.tolist() == [-1.0 - 4.0] * 2


def test_a_blend_goes_from_one_to_the_other():
    first, middle, last = interpolate_energies(gaussian(1.0), gaussian(4.0), np.array([0.0, 0.5, 1.0]))
    x = np.array([[1.0, 2.0]])
    assert [e(x)[0][0] for e in (first, middle, last)] == pytest.approx([2.5, 6.25, 10.0])
    assert middle(x)[1] == pytest.approx(2.5 * x)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda x, rng: run_annealed_importance_sampling(path()[:1], x, move=None),
            "`path` must have at least two energies, .*, got 1",
        ),
        (lambda x, rng: run_corrected_langevin(path(3), x, step=0.0, rng=rng), "`step` must be .*, got 0.0"),
        (lambda x, rng: run_corrected_langevin(path(3), x, step=np.ones(2), rng=rng), "each of 3 steps"),
        (lambda x, rng: run_corrected_langevin([wall, wall], x, step=0.1, rng=rng), "has energy inf"),
    ],
)
def test_what_cannot_be_driven(call, match):
    with pytest.raises(BadInput, match=match):
        call(-np.ones((4, 1)), np.random.default_rng(0))
