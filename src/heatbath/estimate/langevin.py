r"""Langevin chains for a continuous energy: unadjusted (ULA, biased by its step) and adjusted by Metropolis (MALA).

A kernel is a frozen dataclass with `init(positions)` and `step(rng, walkers)`; walkers (n, d) run side by side and know
nothing of one another. Step sizes are tuned in `warm_up` and nowhere else: a step that adapts for ever draws from
nothing known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, NotANumber

Floats = NDArray[np.float64]
EnergyAndGradient = Callable[[Floats], tuple[Floats, Floats]]
"""Positions (n, d) to energies (n,), nats at beta = 1, and gradients (n, d); `+inf` forbids a position."""


@dataclass(frozen=True)
class Walkers:
    """Where n walkers are: positions (n, d), their energies (n,) and gradients (n, d)."""

    positions: Floats
    energy: Floats
    gradient: Floats


class Kernel(Protocol):
    """What moves walkers by one step of a chain; ULA, MALA and HMC do."""

    def init(self, positions: Floats) -> Walkers:
        """Walkers at positions (n, d)."""

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Walkers one step later, and the probability with which each one's proposal was to be accepted, (n,)."""


class TunableKernel(Kernel, Protocol):
    """A kernel whose acceptance falls as its step size grows: MALA and HMC."""

    @property
    def step_size(self) -> float:
        """The step size h."""

    def with_step_size(self, step_size: float) -> Self:
        """The same kernel with another step size."""


K = TypeVar("K", bound=TunableKernel)


def evaluate_walkers(energy: EnergyAndGradient, positions: Floats) -> Walkers:
    """Walkers at positions (n, d).

    Raises:
        BadInput: positions, energies or gradients of the wrong shape.
        NotANumber: an energy is NaN, or a gradient where the energy is finite; the message names the walker.
    """
    x = np.asarray(positions, dtype=np.float64)
    if x.ndim != 2 or len(x) == 0:
        raise BadInput(f"positions have shape {x.shape}: give (walkers, dimensions) with one walker or more.")
    # A step that is too long overflows to +inf, which is as good as forbidden.
    with np.errstate(over="ignore"):
        E, gradient = (np.asarray(a, dtype=np.float64) for a in energy(x))
    if E.shape != x.shape[:1] or gradient.shape != x.shape:
        shapes = f"{E.shape} and {gradient.shape}"
        raise BadInput(f"energies and gradients have shapes {shapes}: give {x.shape[:1]} and {x.shape}.")
    bad = np.isnan(E) | (np.isfinite(E) & ~np.isfinite(gradient).all(1))
    if bad.any():
        n = int(np.flatnonzero(bad)[0])
        raise NotANumber(
            f"the energy or gradient of walker {n} is not a number: look at the energy, or halve the step."
        )
    return Walkers(x, E, gradient)


def build_walkers(energy: EnergyAndGradient, positions: Floats) -> Walkers:
    """Walkers at positions (n, d) of finite energy, where a chain can start.

    Raises:
        BadInput: a start is forbidden.
    """
    walkers = evaluate_walkers(energy, positions)
    forbidden = np.flatnonzero(~np.isfinite(walkers.energy))
    if len(forbidden):
        n = forbidden[0]
        raise BadInput(f"walker {n} is at energy {walkers.energy[n]}: start where it is finite, or shorten the step.")
    return walkers


def validate_kernel(beta: float, step_size: float) -> None:
    """Raise `BadInput` unless both can drive a chain."""
    if not (np.isfinite(beta) and beta >= 0):
        raise BadInput(f"beta is {beta}: give a finite inverse temperature, 0 or more.")
    if not (np.isfinite(step_size) and step_size > 0):
        raise BadInput(f"step_size is {step_size}: give a finite number above 0.")


@dataclass(frozen=True)
class ULA:
    r"""Unadjusted Langevin: $x' = x - h \beta \nabla U + \sqrt{2h}\, \xi$, whose law is off by O(h).

    For $U = x^2/2$ at beta = 1 the variance is $1/(1 - h/2)$ in place of one. Nothing is rejected.

    Source: Roberts and Tweedie 1996, Bernoulli 2, 341.

    Raises:
        BadInput: a beta or step size that cannot drive a chain.
    """

    energy: EnergyAndGradient
    step_size: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        validate_kernel(self.beta, self.step_size)

    def init(self, positions: Floats) -> Walkers:
        """Walkers at positions (n, d)."""
        return build_walkers(self.energy, positions)

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Walkers one step later, and ones (n,), since every move is made.

        Raises:
            BadInput: a walker came to where the energy is infinite, from which there is no drift back.
        """
        moved = build_walkers(self.energy, propose_positions(self.step_size, self.beta, rng=rng, walkers=walkers))
        return moved, np.ones(len(walkers.energy))


@dataclass(frozen=True)
class MALA:
    r"""Metropolis-adjusted Langevin: ULA's move x to y, accepted with $\min(1, \pi(y) q(x|y) / \pi(x) q(y|x))$.

    Exact for any h.

    Source: Roberts and Tweedie 1996, Bernoulli 2, 341; best acceptance 0.574, Roberts and Rosenthal 1998.

    Raises:
        BadInput: a beta or step size that cannot drive a chain.
    """

    energy: EnergyAndGradient
    step_size: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        validate_kernel(self.beta, self.step_size)

    def init(self, positions: Floats) -> Walkers:
        """Walkers at positions (n, d)."""
        return build_walkers(self.energy, positions)

    def with_step_size(self, step_size: float) -> Self:
        """The same kernel with another step size."""
        return replace(self, step_size=step_size)

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Walkers one step later, and the probability of each one's acceptance, (n,)."""
        proposed = evaluate_walkers(self.energy, propose_positions(self.step_size, self.beta, rng=rng, walkers=walkers))
        possible = np.isfinite(proposed.energy)
        forward = self._log_proposal(walkers, proposed.positions)
        # Where the energy is infinite the gradient may be anything.
        back = self._log_proposal(
            replace(proposed, gradient=_where(possible, proposed.gradient, 0.0)), walkers.positions
        )
        log_ratio = self.beta * (walkers.energy - _where(possible, proposed.energy, 0.0)) + back - forward
        return accept_proposals(rng, walkers, proposed, log_ratio=_where(possible, log_ratio, -np.inf))

    def _log_proposal(self, start: Walkers, end: Floats) -> Floats:
        """Log-density of the move from `start` to `end` (n, d), less a constant, (n,)."""
        noise = end - start.positions + self.step_size * self.beta * start.gradient
        return np.asarray(-(noise**2).sum(1) / (4 * self.step_size))


def propose_positions(step_size: float, beta: float, *, rng: np.random.Generator, walkers: Walkers) -> Floats:
    r"""$x - h \beta \nabla U + \sqrt{2h}\, \xi$, (n, d)."""
    noise = rng.standard_normal(walkers.positions.shape)
    return np.asarray(walkers.positions - step_size * beta * walkers.gradient + np.sqrt(2 * step_size) * noise)


def accept_proposals(
    rng: np.random.Generator, old: Walkers, new: Walkers, *, log_ratio: Floats
) -> tuple[Walkers, Floats]:
    """Each walker's new place with probability min(1, e^log_ratio), else its old one; and these probabilities, (n,)."""
    chance = np.exp(np.minimum(log_ratio, 0.0))
    taken = rng.random(len(chance)) < chance
    chosen = Walkers(
        _where(taken, new.positions, old.positions),
        _where(taken, new.energy, old.energy),
        _where(taken, new.gradient, old.gradient),
    )
    return chosen, chance


def _where(mask_n: NDArray[np.bool_], yes: Floats, no: Floats | float) -> Floats:
    return np.asarray(np.where(mask_n.reshape(-1, *[1] * (yes.ndim - 1)), yes, no))


@dataclass(frozen=True)
class WalkerTrajectories:
    """What n walkers did: positions (n, steps, d), and each proposal's probability of acceptance, (n, steps)."""

    positions: Floats
    acceptance_probabilities: Floats
    final_walkers: Walkers

    @property
    def acceptance(self) -> float:
        """Mean probability of acceptance."""
        return float(self.acceptance_probabilities.mean())


def run_kernel(kernel: Kernel, walkers: Walkers, *, steps: int, rng: np.random.Generator) -> WalkerTrajectories:
    """Steps of a kernel, recorded.

    Raises:
        BadInput: fewer than one step.
    """
    if steps < 1:
        raise BadInput(f"steps is {steps}: give 1 or more.")
    positions, chances = [], []
    for _ in range(steps):
        walkers, chance = kernel.step(rng, walkers)
        positions.append(walkers.positions)
        chances.append(chance)
    return WalkerTrajectories(np.stack(positions, axis=1), np.stack(chances, axis=1), walkers)


@dataclass(frozen=True)
class DualAveraging:
    r"""Dual averaging of log h towards an acceptance: $x_t = \mu - \frac{\sqrt t}{\gamma (t + t_0)} \sum (\delta - a)$.

    Source: Hoffman and Gelman 2014, arXiv 1111.4246, section 3.2.
    """

    center: float
    log_step: float
    average_log_step: float = 0.0
    total_shortfall: float = 0.0
    count: int = 0

    GAIN = 0.05
    DELAY = 10
    DECAY = 0.75

    @classmethod
    def from_step_size(cls, step_size: float) -> Self:
        """From a first guess; the search leans towards ten times it, since long steps cost less."""
        return cls(float(np.log(10 * step_size)), float(np.log(step_size)))

    def update(self, shortfall: float) -> Self:
        """One step on, after an acceptance that was `shortfall` below the target."""
        t, total = self.count + 1, self.total_shortfall + shortfall
        log_step = self.center - np.sqrt(t) / self.GAIN * total / (t + self.DELAY)
        share = t**-self.DECAY
        averaged = share * log_step + (1 - share) * self.average_log_step
        return replace(self, log_step=float(log_step), average_log_step=float(averaged), total_shortfall=total, count=t)


def tune_step_size(
    kernel: K, walkers: Walkers, *, steps: int, acceptance: float, rng: np.random.Generator
) -> tuple[K, Walkers]:
    """The kernel with a step size tuned to a mean acceptance, and the walkers after these steps, which do not count.

    Raises:
        BadInput: fewer than one step, or an acceptance outside (0, 1).
    """
    if steps < 1:
        raise BadInput(f"steps is {steps}: give 1 or more.")
    if not 0 < acceptance < 1:
        raise BadInput(f"acceptance is {acceptance}: give a share between 0 and 1, such as 0.574 for MALA.")
    search = DualAveraging.from_step_size(kernel.step_size)
    for _ in range(steps):
        walkers, chance = kernel.with_step_size(float(np.exp(search.log_step))).step(rng, walkers)
        search = search.update(acceptance - float(chance.mean()))
    return kernel.with_step_size(float(np.exp(search.average_log_step))), walkers
