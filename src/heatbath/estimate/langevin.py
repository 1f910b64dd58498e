r"""Langevin chains for a continuous energy: unadjusted (ULA, biased by the step size) and Metropolis-adjusted (MALA).

A kernel is a frozen dataclass with `init(positions)` and `step(rng, walkers)`; walkers (n, d) are independent chains
that run in parallel. Step sizes are tuned only in `tune_step_size`, before sampling: a chain that adapts forever has no
known stationary distribution.
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
    """The state of n walkers: positions (n, d), energies (n,) and gradients (n, d)."""

    positions: Floats
    energy: Floats
    gradient: Floats


class Kernel(Protocol):
    """A Markov kernel that moves walkers by one step: ULA, MALA or HMC."""

    def init(self, positions: Floats) -> Walkers:
        """Return walkers at positions (n, d)."""

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Return the walkers after one step, and the acceptance probability of each proposal, (n,)."""


class TunableKernel(Kernel, Protocol):
    """A kernel whose acceptance decreases with its step size: MALA and HMC."""

    @property
    def step_size(self) -> float:
        """The step size h."""

    def with_step_size(self, step_size: float) -> Self:
        """Return the same kernel with another step size."""


K = TypeVar("K", bound=TunableKernel)


def evaluate_walkers(energy: EnergyAndGradient, positions: Floats) -> Walkers:
    """Evaluate energies and gradients of walkers at positions (n, d).

    Raises:
        BadInput: positions, energies or gradients of the wrong shape.
        NotANumber: an energy is NaN, or a gradient where the energy is finite; the message names the walker.
    """
    x = np.asarray(positions, dtype=np.float64)
    if x.ndim != 2 or len(x) == 0:
        raise BadInput(f"positions must have shape (walkers, dimensions) with at least one walker, got {x.shape}.")
    # A step that is too long overflows to +inf, which counts as forbidden.
    with np.errstate(over="ignore"):
        E, gradient = (np.asarray(a, dtype=np.float64) for a in energy(x))
    if E.shape != x.shape[:1] or gradient.shape != x.shape:
        shapes = f"{E.shape} and {gradient.shape}"
        raise BadInput(f"energies and gradients must have shapes {x.shape[:1]} and {x.shape}, got {shapes}.")
    bad = np.isnan(E) | (np.isfinite(E) & ~np.isfinite(gradient).all(1))
    if bad.any():
        n = int(np.flatnonzero(bad)[0])
        raise NotANumber(
            f"the energy or gradient of walker {n} is not a number: check the energy function, or halve the step."
        )
    return Walkers(x, E, gradient)


def build_walkers(energy: EnergyAndGradient, positions: Floats) -> Walkers:
    """Evaluate walkers at positions (n, d) of finite energy, where a chain can start.

    Raises:
        BadInput: a position is forbidden.
    """
    walkers = evaluate_walkers(energy, positions)
    forbidden = np.flatnonzero(~np.isfinite(walkers.energy))
    if len(forbidden):
        n = forbidden[0]
        raise BadInput(f"walker {n} has energy {walkers.energy[n]}: start where it is finite, or reduce the step.")
    return walkers


def validate_kernel(beta: float, step_size: float) -> None:
    """Raise `BadInput` unless beta is finite and at least 0 and the step size finite and above 0."""
    if not (np.isfinite(beta) and beta >= 0):
        raise BadInput(f"`beta` must be finite and at least 0, got {beta}.")
    if not (np.isfinite(step_size) and step_size > 0):
        raise BadInput(f"`step_size` must be finite and above 0, got {step_size}.")


@dataclass(frozen=True)
class ULA:
    r"""Unadjusted Langevin: $x' = x - h \beta \nabla U + \sqrt{2h}\, \xi$, biased by O(h).

    For $U = x^2/2$ at beta = 1 the variance is $1/(1 - h/2)$ instead of one. No move is rejected.

    Source: Roberts and Tweedie 1996, Bernoulli 2, 341.

    Raises:
        BadInput: an invalid beta or step size.
    """

    energy: EnergyAndGradient
    step_size: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        validate_kernel(self.beta, self.step_size)

    def init(self, positions: Floats) -> Walkers:
        """Return walkers at positions (n, d)."""
        return build_walkers(self.energy, positions)

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Return the walkers after one step, and ones (n,), since every move is accepted.

        Raises:
            BadInput: a walker reached an infinite energy, from which there is no drift back.
        """
        proposal = build_walkers(self.energy, propose_positions(self.step_size, self.beta, rng=rng, walkers=walkers))
        return proposal, np.ones(len(walkers.energy))


@dataclass(frozen=True)
class MALA:
    r"""Metropolis-adjusted Langevin: ULA's move x to y, accepted with $\min(1, \pi(y) q(x|y) / \pi(x) q(y|x))$.

    Exact for any h.

    Source: Roberts and Tweedie 1996, Bernoulli 2, 341; optimal acceptance 0.574, Roberts and Rosenthal 1998.

    Raises:
        BadInput: an invalid beta or step size.
    """

    energy: EnergyAndGradient
    step_size: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        validate_kernel(self.beta, self.step_size)

    def init(self, positions: Floats) -> Walkers:
        """Return walkers at positions (n, d)."""
        return build_walkers(self.energy, positions)

    def with_step_size(self, step_size: float) -> Self:
        """Return the same kernel with another step size."""
        return replace(self, step_size=step_size)

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Return the walkers after one step, and the acceptance probability of each, (n,)."""
        proposal = evaluate_walkers(self.energy, propose_positions(self.step_size, self.beta, rng=rng, walkers=walkers))
        possible = np.isfinite(proposal.energy)
        forward = self._log_proposal(walkers, proposal.positions)
        # Where the energy is infinite the gradient is undefined.
        reverse = self._log_proposal(
            replace(proposal, gradient=_where(possible, proposal.gradient, 0.0)), walkers.positions
        )
        log_ratio = self.beta * (walkers.energy - _where(possible, proposal.energy, 0.0)) + reverse - forward
        return accept_proposals(rng, walkers, proposal, log_ratio=_where(possible, log_ratio, -np.inf))

    def _log_proposal(self, start: Walkers, end: Floats) -> Floats:
        """Return the log-density of the move from `start` to `end` (n, d), up to a constant, (n,)."""
        noise = end - start.positions + self.step_size * self.beta * start.gradient
        return np.asarray(-(noise**2).sum(1) / (4 * self.step_size))


def propose_positions(step_size: float, beta: float, *, rng: np.random.Generator, walkers: Walkers) -> Floats:
    r"""Draw $x - h \beta \nabla U + \sqrt{2h}\, \xi$, (n, d)."""
    noise = rng.standard_normal(walkers.positions.shape)
    return np.asarray(walkers.positions - step_size * beta * walkers.gradient + np.sqrt(2 * step_size) * noise)


def accept_proposals(
    rng: np.random.Generator, old: Walkers, new: Walkers, *, log_ratio: Floats
) -> tuple[Walkers, Floats]:
    """Move each walker from `old` to `new` with probability min(1, e^log_ratio); return these too, (n,)."""
    probability = np.exp(np.minimum(log_ratio, 0.0))
    accepted = rng.random(len(probability)) < probability
    walkers = Walkers(
        _where(accepted, new.positions, old.positions),
        _where(accepted, new.energy, old.energy),
        _where(accepted, new.gradient, old.gradient),
    )
    return walkers, probability


def _where(mask_n: NDArray[np.bool_], yes: Floats, no: Floats | float) -> Floats:
    return np.asarray(np.where(mask_n.reshape(-1, *[1] * (yes.ndim - 1)), yes, no))


@dataclass(frozen=True)
class WalkerTrajectories:
    """Trajectories of n walkers: positions (n, steps, d), acceptance probabilities (n, steps)."""

    positions: Floats
    acceptance_probabilities: Floats
    final_walkers: Walkers

    @property
    def acceptance(self) -> float:
        """Mean acceptance probability."""
        return float(self.acceptance_probabilities.mean())


def run_kernel(kernel: Kernel, walkers: Walkers, *, steps: int, rng: np.random.Generator) -> WalkerTrajectories:
    """Run several steps of a kernel and record them.

    Raises:
        BadInput: fewer than one step.
    """
    if steps < 1:
        raise BadInput(f"`steps` must be at least 1, got {steps}.")
    positions, probabilities = [], []
    for _ in range(steps):
        walkers, probability = kernel.step(rng, walkers)
        positions.append(walkers.positions)
        probabilities.append(probability)
    return WalkerTrajectories(np.stack(positions, axis=1), np.stack(probabilities, axis=1), walkers)


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
        """Start from a first guess; the search is biased towards ten times it, since longer steps mix faster."""
        return cls(float(np.log(10 * step_size)), float(np.log(step_size)))

    def update(self, shortfall: float) -> Self:
        """Return the search after one step whose acceptance was `shortfall` below the target."""
        t, total = self.count + 1, self.total_shortfall + shortfall
        log_step = self.center - np.sqrt(t) / self.GAIN * total / (t + self.DELAY)
        share = t**-self.DECAY
        averaged = share * log_step + (1 - share) * self.average_log_step
        return replace(self, log_step=float(log_step), average_log_step=float(averaged), total_shortfall=total, count=t)


def tune_step_size(
    kernel: K, walkers: Walkers, *, steps: int, acceptance: float, rng: np.random.Generator
) -> tuple[K, Walkers]:
    """Tune the step size to a mean acceptance; return the kernel and the walkers after this warm-up.

    Raises:
        BadInput: fewer than one step, or an acceptance outside (0, 1).
    """
    if steps < 1:
        raise BadInput(f"`steps` must be at least 1, got {steps}.")
    if not 0 < acceptance < 1:
        raise BadInput(f"`acceptance` must be in (0, 1), such as 0.574 for MALA, got {acceptance}.")
    search = DualAveraging.from_step_size(kernel.step_size)
    for _ in range(steps):
        walkers, probability = kernel.with_step_size(float(np.exp(search.log_step))).step(rng, walkers)
        search = search.update(acceptance - float(probability.mean()))
    return kernel.with_step_size(float(np.exp(search.average_log_step))), walkers
