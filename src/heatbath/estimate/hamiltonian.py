r"""Hamiltonian Monte Carlo: leapfrog trajectories with random momenta, corrected by a Metropolis step.

Source: Neal 2011, arXiv 1206.1901.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.estimate.langevin import (
    EnergyAndGradient,
    Walkers,
    accept_proposals,
    build_walkers,
    evaluate_walkers,
    validate_kernel,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HMC:
    r"""New momenta, then `leapfrog_steps` steps, accepted with $\min(1, e^{-\Delta H})$; exact for any step size.

    With `jitter` j the step is drawn uniformly from h (1 ± j) for each trajectory, the same for all walkers, so that
    no walker returns to its start periodically (a harmonic energy has a period). The optimal acceptance is about 0.65
    (Beskos et al. 2013).

    Raises:
        BadInput: an invalid beta, step size, number of steps or jitter.
    """

    energy: EnergyAndGradient
    step_size: float
    beta: float = 1.0
    leapfrog_steps: int = 10
    jitter: float = 0.0

    def __post_init__(self) -> None:
        validate_kernel(self.beta, self.step_size)
        if self.leapfrog_steps < 1:
            raise BadInput(f"`leapfrog_steps` must be at least 1, got {self.leapfrog_steps}.")
        if not 0 <= self.jitter < 1:
            raise BadInput(f"`jitter` must be in [0, 1), got {self.jitter}.")

    def init(self, positions: Floats) -> Walkers:
        """Return walkers at positions (n, d)."""
        return build_walkers(self.energy, positions)

    def with_step_size(self, step_size: float) -> Self:
        """Return the same kernel with another step size."""
        return replace(self, step_size=step_size)

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Return the walkers after one trajectory, and the acceptance probability of each, (n,)."""
        h = self.step_size * (1 + self.jitter * rng.uniform(-1, 1))
        momenta = rng.standard_normal(walkers.positions.shape)
        proposal, end_momenta = self.with_step_size(h).integrate_leapfrog(walkers, momenta)
        possible = np.isfinite(proposal.energy)
        decrease = walkers.energy - np.where(possible, proposal.energy, 0.0)
        log_ratio = self.beta * decrease + 0.5 * (momenta**2 - end_momenta**2).sum(1)
        return accept_proposals(rng, walkers, proposal, log_ratio=np.where(possible, log_ratio, -np.inf))

    def integrate_leapfrog(self, walkers: Walkers, momenta: Floats) -> tuple[Walkers, Floats]:
        r"""Integrate walkers and momenta (n, d) by `leapfrog_steps` steps.

        A half kick $p - \frac h2 \beta \nabla U$, a drift $x + h p$, a half kick: reversible (negate the momenta) and
        volume-preserving; the error of $\beta U + p^2/2$ is O(h²) and does not grow. A walker that reaches an infinite
        energy stays there.
        """
        momenta = momenta - 0.5 * self._momentum_change(walkers)
        for leap in range(self.leapfrog_steps):
            movable = np.isfinite(walkers.energy)[:, None]
            x = walkers.positions
            walkers = evaluate_walkers(self.energy, np.where(movable, x + self.step_size * momenta, x))
            momenta = momenta - (1.0 if leap < self.leapfrog_steps - 1 else 0.5) * self._momentum_change(walkers)
        return walkers, momenta

    def _momentum_change(self, walkers: Walkers) -> Floats:
        """Return h beta times the gradient, 0 where the energy is infinite and the gradient undefined."""
        gradient = np.where(np.isfinite(walkers.energy)[:, None], walkers.gradient, 0.0)
        return np.asarray(self.step_size * self.beta * gradient)
