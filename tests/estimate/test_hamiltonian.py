"""Hamiltonian Monte Carlo: the geometry of its leapfrog, the order of its error, and exact moments beside a twin's."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.estimate.hamiltonian import HMC
from heatbath.estimate.langevin import accept_proposals, run_kernel, tune_step_size

N = 60_000


def energy(x):
    """Not harmonic, and the axes pull at one another."""
    a, b = x.T
    U = 0.5 * a**2 + 0.25 * b**4 + 0.5 * a * b
    return U, np.stack([a + 0.5 * b, b**3 + 0.5 * a], axis=1)


def exact_moments(beta: float) -> np.ndarray:
    """E a^2, E b^2, E ab, E U and E U^2, by quadrature."""
    g = np.linspace(-9, 9, 1201)
    x = np.stack([axis.ravel() for axis in np.meshgrid(g, g)], axis=1)
    U = energy(x)[0]
    p = np.exp(-beta * (U - U.min()))
    return np.array([x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], U, U**2]) @ p / p.sum()


def exact_walkers(rng, beta: float, n: int = N) -> np.ndarray:
    """The second axis by its marginal, the first given it: a is normal about -b/2."""
    g = np.linspace(-6, 6, 20_001)
    p = np.exp(-beta * (0.25 * g**4 - 0.125 * g**2))
    b = np.interp(rng.random(n), np.cumsum(p) / p.sum(), g)
    return np.stack([rng.normal(-b / 2, 1 / np.sqrt(beta)), b], axis=1)


def z_scores(kernel, beta: float, steps: int = 4) -> np.ndarray:
    rng = np.random.default_rng(5)
    x = run_kernel(kernel, kernel.init(exact_walkers(rng, beta)), steps=steps, rng=rng).final_walkers.positions
    U = energy(x)[0]
    found = np.array([x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], U, U**2])
    return (found.mean(1) - exact_moments(beta)) / (found.std(1) / np.sqrt(N))


@pytest.mark.parametrize("kernel", [HMC(energy, 0.5, leapfrog_steps=3), HMC(energy, 0.9, leapfrog_steps=2, jitter=0.5)])
@pytest.mark.parametrize("beta", [0.6, 1.0, 1.7])
def test_every_moment_stays_where_it_was(kernel, beta):
    """Five moments at 4.5 standard deviations: a false alarm in 3e-5 of seeds."""
    assert np.abs(z_scores(replace(kernel, beta=beta), beta)).max() < 4.5


@dataclass(frozen=True)
class PotentialOnly(HMC):
    """Forgets the kinetic energy in its acceptance."""

    def step(self, rng, walkers):
        moved, _ = self.integrate_leapfrog(walkers, rng.standard_normal(walkers.positions.shape))
        return accept_proposals(rng, walkers, moved, log_ratio=walkers.energy - moved.energy)


@dataclass(frozen=True)
class NeverRejects(HMC):
    """Trusts the leapfrog."""

    def step(self, rng, walkers):
        moved, _ = self.integrate_leapfrog(walkers, rng.standard_normal(walkers.positions.shape))
        return moved, np.ones(len(walkers.energy))


@pytest.mark.parametrize(
    "twin", [PotentialOnly(energy, 0.5, leapfrog_steps=3), NeverRejects(energy, 0.35, leapfrog_steps=3)]
)
def test_biased_twins_are_seen(twin):
    assert np.abs(z_scores(twin, 1.0)).max() > 6


def started(n: int, h: float, leaps: int):
    rng = np.random.default_rng(2)
    kernel = HMC(energy, h, leapfrog_steps=leaps)
    return kernel, kernel.init(exact_walkers(rng, 1.0, n)), rng.normal(size=(n, 2))


def test_turned_momenta_lead_back():
    kernel, walkers, momenta = started(50, 0.1, 25)
    there, p = kernel.integrate_leapfrog(walkers, momenta)
    back, q = kernel.integrate_leapfrog(there, -p)
    assert np.allclose(back.positions, walkers.positions, atol=1e-11)
    assert np.allclose(-q, momenta, atol=1e-11)
    assert np.abs(there.positions - walkers.positions).max() > 0.5


def test_beta_is_a_factor_of_the_energy():
    kernel, walkers, momenta = started(20, 0.1, 8)

    def doubled(x):
        U, gradient = energy(x)
        return 2 * U, 2 * gradient

    colder, p = replace(kernel, beta=2.0).integrate_leapfrog(walkers, momenta)
    stiffer, q = replace(kernel, energy=doubled).integrate_leapfrog(HMC(doubled, 0.1).init(walkers.positions), momenta)
    assert np.allclose(colder.positions, stiffer.positions, atol=1e-13) and np.allclose(p, q, atol=1e-13)


def test_volume_in_phase_space_is_kept():
    kernel, walkers, momenta = started(1, 0.3, 7)
    start, eps = np.concatenate([walkers.positions[0], momenta[0]]), 1e-5
    shifted = np.concatenate([start + eps * np.eye(4), start - eps * np.eye(4)])
    there, p = kernel.integrate_leapfrog(kernel.init(shifted[:, :2]), shifted[:, 2:])
    end = np.concatenate([there.positions, p], axis=1)
    assert np.linalg.det((end[:4] - end[4:]) / (2 * eps)) == pytest.approx(1, abs=1e-7)


def test_the_error_of_the_energy_is_of_second_order():
    """At a trajectory of length 2 the slope of log mean |dH| against log h is two."""
    leaps = np.array([20, 40, 80, 160])
    errors = []
    for n in leaps:
        kernel, walkers, momenta = started(300, 2.0 / n, int(n))
        there, p = kernel.integrate_leapfrog(walkers, momenta)
        errors.append(np.abs(there.energy - walkers.energy + 0.5 * (p**2 - momenta**2).sum(1)).mean())
    assert np.polyfit(np.log(2.0 / leaps), np.log(errors), 1)[0] == pytest.approx(2, abs=0.05)


def spring(x):
    return 0.5 * (x**2).sum(1), x


def test_jitter_breaks_the_period_of_a_spring():
    """After one whole period a walker is where it was; with jitter it is not."""
    # Forty steps of the leapfrog itself, whose phase per step is 2 arcsin(h / 2), are a whole period.
    h = 2 * np.sin(np.pi / 40)
    start = np.random.default_rng(0).normal(size=(200, 1))
    for jitter, moves in ((0.0, False), (0.2, True)):
        kernel = HMC(spring, h, leapfrog_steps=40, jitter=jitter)
        x = run_kernel(kernel, kernel.init(start), steps=3, rng=np.random.default_rng(1)).final_walkers.positions
        assert (np.abs(x - start).mean() > 0.1) == moves


@pytest.mark.parametrize("start", [1e-3, 0.3, 20.0])
def test_warming_up_finds_the_step_for_an_acceptance(start):
    rng = np.random.default_rng(0)
    kernel = HMC(spring, start, leapfrog_steps=5, jitter=0.1)
    kernel, walkers = tune_step_size(kernel, kernel.init(np.zeros((64, 20))), steps=300, acceptance=0.8, rng=rng)
    assert run_kernel(kernel, walkers, steps=100, rng=rng).acceptance == pytest.approx(0.8, abs=0.05)


def test_walkers_never_cross_a_wall():
    """An exponential law with a wall at zero: mean one, known to 1/sqrt(n)."""

    def half_space(x):
        inside = x[:, 0] > 0
        return np.where(inside, x[:, 0], np.inf), np.where(inside[:, None], 1.0, np.nan)

    rng = np.random.default_rng(4)
    kernel = HMC(half_space, 0.3, leapfrog_steps=3)
    chains = run_kernel(kernel, kernel.init(rng.exponential(size=(20_000, 1))), steps=10, rng=rng)
    assert (chains.positions > 0).all()
    assert chains.final_walkers.positions.mean() == pytest.approx(1, abs=4.5 / np.sqrt(20_000))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: HMC(spring, 0.1, leapfrog_steps=0), "`leapfrog_steps` must be at least 1, got 0"),
        (lambda: HMC(spring, 0.1, jitter=1.0), "`jitter` must be .*, got 1.0"),
        (lambda: HMC(spring, -0.1), "`step_size` must be .*, got -0.1"),
        (lambda: HMC(spring, 0.1, beta=np.inf), "`beta` must be .*, got inf"),
    ],
)
def test_what_cannot_drive_a_chain(call, match):
    with pytest.raises(BadInput, match=match):
        call()
