r"""Hamiltonian Monte Carlo: momenta carry a walker far along a level of energy, Metropolis takes out the step's error.

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
    r"""Fresh momenta, `leaps` leapfrog steps, accepted with $\min(1, e^{-\Delta H})$; exact for any step size.

    With `jitter` j the step is drawn anew from h (1 ± j), the same for all walkers, so that no walker comes back to
    where it was time and again (a harmonic energy has a period). Best acceptance about 0.65 (Beskos et al. 2013).

    Raises:
        BadInput: a beta, step size, number of leaps or jitter that cannot drive a chain.
    """

    energy: EnergyAndGradient
    step_size: float
    beta: float = 1.0
    leapfrog_steps: int = 10
    jitter: float = 0.0

    def __post_init__(self) -> None:
        validate_kernel(self.beta, self.step_size)
        if self.leapfrog_steps < 1:
            raise BadInput(f"leaps is {self.leapfrog_steps}: give 1 or more.")
        if not 0 <= self.jitter < 1:
            raise BadInput(f"jitter is {self.jitter}: give a share of the step from 0 to below 1.")

    def init(self, positions: Floats) -> Walkers:
        """Walkers at positions (n, d)."""
        return build_walkers(self.energy, positions)

    def with_step_size(self, step_size: float) -> Self:
        """The same kernel with another step size."""
        return replace(self, step_size=step_size)

    def step(self, rng: np.random.Generator, walkers: Walkers) -> tuple[Walkers, Floats]:
        """Walkers one trajectory later, and the probability of each one's acceptance, (n,)."""
        h = self.step_size * (1 + self.jitter * rng.uniform(-1, 1))
        momenta = rng.standard_normal(walkers.positions.shape)
        moved, after = self.with_step_size(h).integrate_leapfrog(walkers, momenta)
        possible = np.isfinite(moved.energy)
        drop = walkers.energy - np.where(possible, moved.energy, 0.0)
        log_ratio = self.beta * drop + 0.5 * (momenta**2 - after**2).sum(1)
        return accept_proposals(rng, walkers, moved, log_ratio=np.where(possible, log_ratio, -np.inf))

    def integrate_leapfrog(self, walkers: Walkers, momenta: Floats) -> tuple[Walkers, Floats]:
        r"""Where the walkers and their momenta (n, d) are after `leaps` steps.

        Half a kick $p - \frac h2 \beta \nabla U$, a drift $x + h p$, half a kick: reversible (turn the momenta and go
        back) and volume-preserving; $\beta U + p^2/2$ is off by O(h²), without drift. A walker that comes to an
        infinite energy stays there.
        """
        momenta = momenta - 0.5 * self._momentum_change(walkers)
        for leap in range(self.leapfrog_steps):
            free = np.isfinite(walkers.energy)[:, None]
            x = walkers.positions
            walkers = evaluate_walkers(self.energy, np.where(free, x + self.step_size * momenta, x))
            momenta = momenta - (1.0 if leap < self.leapfrog_steps - 1 else 0.5) * self._momentum_change(walkers)
        return walkers, momenta

    def _momentum_change(self, walkers: Walkers) -> Floats:
        """Where the energy is infinite the gradient may be anything."""
        gradient = np.where(np.isfinite(walkers.energy)[:, None], walkers.gradient, 0.0)
        return np.asarray(self.step_size * self.beta * gradient)
