r"""Ratios of partition functions of continuous energies from the work on walkers that are driven between them.

Walkers start from the distribution of $U_0$ and are driven along a path of energies to $U_K$; each has a log-weight
$A = -W$, minus the work done on it, with $E[e^A] = Z_K / Z_0$, and $E[f e^A] / E[e^A]$ is the mean of f under $U_K$, at
any speed of the drive. Energies are in nats and include beta. A run over the reversed path gives the A of the reverse
process (Crooks).

Source: Jarzynski 1997, arXiv cond-mat/9610209; Neal 2001, arXiv physics/9803008.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.estimate.bridge import bar, log_mean
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.langevin import EnergyAndGradient, Kernel, Walkers, build_walkers, evaluate_walkers
from heatbath.estimate.reweighting import weighted_mean

Floats = NDArray[np.float64]
Move = Callable[[EnergyAndGradient, Floats], Floats]
"""Maps an energy U and positions (n, d) to new positions (n, d), by a kernel that leaves exp(-U) invariant."""


@dataclass(frozen=True)
class WeightedWalkers:
    """Weighted walkers at the end of a path: positions (n, d) and log-weights $A = -W$ (n,), nats."""

    positions: Floats
    log_weights: Floats

    @property
    def log_ratio(self) -> Estimate:
        r"""$\log Z_K / Z_0 = \log E[e^A]$."""
        return log_mean(self.log_weights)

    @property
    def mean_work(self) -> Estimate:
        r"""$E[W]$, at least $\log Z_0 / Z_K$; infinite if a walker reached a forbidden position."""
        work = -self.log_weights
        n, finite = len(work), bool(np.isfinite(work).all())
        stderr = float(work.std(ddof=1) / np.sqrt(n)) if finite and n > 1 else float("nan")
        return Estimate(float(work.mean()), stderr, float(n))

    def estimate_mean(self, values_n: Floats) -> Estimate:
        """Mean of an observable (n,) of the positions under the distribution of the last energy.

        Raises:
            BadInput: all weights are zero.
        """
        top = float(self.log_weights.max())
        if top == -np.inf:
            raise BadInput("every walker reached a forbidden position: use more walkers or a longer path.")
        return weighted_mean(np.exp(self.log_weights - top), np.asarray(values_n, dtype=np.float64))


def interpolate_energies(
    first: EnergyAndGradient, last: EnergyAndGradient, shares_k: Floats
) -> list[EnergyAndGradient]:
    r"""Build the path $U_k = (1 - \lambda_k) U_{first} + \lambda_k U_{last}$ for shares lambda (k,).

    An energy with a share of zero is left out and may be infinite.
    """
    return [_mix_energies(first, last, float(share)) for share in shares_k]


def _mix_energies(first: EnergyAndGradient, last: EnergyAndGradient, share: float) -> EnergyAndGradient:
    if share in (0.0, 1.0):
        return last if share else first

    def energy(x: Floats) -> tuple[Floats, Floats]:
        (U, dU), (V, dV) = first(x), last(x)
        return (1 - share) * U + share * V, (1 - share) * dU + share * dV

    return energy


def build_move(kernel: Callable[[EnergyAndGradient], Kernel], *, steps: int, rng: np.random.Generator) -> Move:
    """Build a move of several kernel steps, such as `build_move(partial(MALA, step_size=0.1), steps=5, rng=rng)`."""

    def move(energy: EnergyAndGradient, positions: Floats) -> Floats:
        chain = kernel(energy)
        walkers = chain.init(positions)
        for _ in range(steps):
            walkers, _acceptance = chain.step(rng, walkers)
        return walkers.positions

    return move


def run_annealed_importance_sampling(
    path: Sequence[EnergyAndGradient], start: Floats, *, move: Move
) -> WeightedWalkers:
    r"""Run annealed importance sampling: $A = \sum_k U_{k-1}(x) - U_k(x)$, with a move under $U_k$ between the terms.

    Args:
        path: energies $U_0 \dots U_K$.
        start: independent draws from the distribution of $U_0$, (n, d).
        move: leaves each distribution on the path invariant, such as some steps of MALA or HMC; ULA does not. For the
            reverse process to be the time reversal, the move must satisfy detailed balance.

    Raises:
        BadInput: fewer than two energies, or a start where the first energy is infinite.
        NotANumber: an energy is NaN.
    """
    _validate_path(path)
    x, log_w = np.asarray(start, dtype=np.float64), np.zeros(len(start))
    last = len(path) - 1
    before = build_walkers(path[0], x)
    for k, energy in enumerate(path[1:], 1):
        log_w = log_w + before.energy - evaluate_walkers(energy, x).energy
        if k < last:
            # Walkers of weight zero stay where they are: kernels are never run outside the support.
            alive = np.isfinite(log_w)
            x = x.copy()
            x[alive] = move(energy, x[alive]) if alive.any() else x[alive]
            before = _evaluate_alive(energy, x, alive)
    return WeightedWalkers(x, log_w)


def run_corrected_langevin(
    path: Sequence[EnergyAndGradient], start: Floats, *, step: float | Floats, rng: np.random.Generator
) -> WeightedWalkers:
    r"""Run unadjusted Langevin steps along a path and correct their discretization by weights: exact for any step size.

    $x_{k+1} = x_k - h \nabla U_k(x_k) + \sqrt{2h}\, \xi$ and
    $A_{k+1} = A_k - \alpha_{k+1}(x_{k+1}, x_k) + \alpha_k(x_k, x_{k+1})$, with
    $\alpha_k(x, y) = U_k(x) + \frac12 (y - x) \cdot \nabla U_k(x) + \frac h4 |\nabla U_k(x)|^2$: the log-ratio of the
    backward step under $U_{k+1}$ to the forward step under $U_k$.

    Args:
        path: energies $U_0 \dots U_K$, differentiable and finite wherever a step may lead.
        start: independent draws from the distribution of $U_0$, (n, d).
        step: h, one or (K,) of them; the reverse process takes them in reverse order.
        rng: source of the noise.

    Source: Carbone, Hua, Coste and Vanden-Eijnden 2023, arXiv 2305.19414.

    Raises:
        BadInput: fewer than two energies, a step that is not above 0, or a walker at an infinite energy.
        NotANumber: an energy is NaN.
    """
    _validate_path(path)
    steps = np.asarray(step, dtype=np.float64)
    if not (np.isfinite(steps) & (steps > 0)).all() or steps.shape not in ((), (len(path) - 1,)):
        raise BadInput(f"`step` must be a number above 0, or one for each of {len(path) - 1} steps, got {step}.")
    walkers = build_walkers(path[0], start)
    log_w = np.zeros(len(walkers.energy))
    for h, energy in zip(np.broadcast_to(steps, len(path) - 1), path[1:], strict=True):
        noise = rng.standard_normal(walkers.positions.shape)
        y = walkers.positions - h * walkers.gradient + np.sqrt(2 * h) * noise
        following = build_walkers(energy, y)
        log_w = log_w - _alpha(following, walkers.positions, h) + _alpha(walkers, y, h)
        walkers = following
    return WeightedWalkers(walkers.positions, log_w)


def _alpha(walkers: Walkers, y: Floats, h: float) -> Floats:
    gradient = walkers.gradient
    drift = 0.5 * ((y - walkers.positions) * gradient).sum(1) + 0.25 * h * (gradient**2).sum(1)
    return np.asarray(walkers.energy + drift)


@dataclass(frozen=True)
class LogRatioBounds:
    """Bounds on a log-ratio of partition functions, in expectation, and Bennett's estimate between them."""

    lower: Estimate
    value: Estimate
    upper: Estimate


def bound_log_ratio(forward: WeightedWalkers, reverse: WeightedWalkers) -> LogRatioBounds:
    r"""$-E_F[W] \le \log Z_K / Z_0 \le E_R[W]$, with Bennett's estimate from both directions.

    Args:
        forward: walkers driven along $U_0 \dots U_K$ from draws of $U_0$.
        reverse: walkers driven along $U_K \dots U_0$ from draws of $U_K$, the time-reversed process.

    Source: Crooks 1999, arXiv cond-mat/9901352; Grosse, Ghahramani and Adams 2015, arXiv 1511.02543.

    Raises:
        Unreliable: no walker of one side is possible under the other.
    """
    forward_work = forward.mean_work
    lower = Estimate(-forward_work.value, forward_work.stderr, forward_work.ess)
    return LogRatioBounds(lower, bar(forward.log_weights, -reverse.log_weights), reverse.mean_work)


def _validate_path(path: Sequence[EnergyAndGradient]) -> None:
    if len(path) < 2:
        raise BadInput(f"`path` must have at least two energies, the first and the last, got {len(path)}.")


def _evaluate_alive(energy: EnergyAndGradient, x: Floats, alive: NDArray[np.bool_]) -> Walkers:
    walkers = evaluate_walkers(energy, x)
    # Walkers of weight zero get energy 0: a difference of two infinite energies would make their weight NaN.
    return Walkers(x, np.where(alive, walkers.energy, 0.0), walkers.gradient)
