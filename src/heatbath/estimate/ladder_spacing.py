r"""Spacing of a ladder of betas by thermodynamic length, $\Lambda = \int \sqrt{\mathrm{Var}\, E}\, d\beta$.

Rungs at equal steps of length overlap equally with their neighbours, so that exchanges, resampling and annealing have
no bottleneck. Var E is C / beta² for a heat capacity C.

Source: Crooks 2007, arXiv 0706.0559.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatbath.errors import BadInput

Floats = NDArray[np.float64]


def thermodynamic_length(betas_k: ArrayLike, variances_k: ArrayLike) -> Floats:
    r"""Length from the first beta to each, (k,), dimensionless; $\sqrt{\mathrm{Var}\, E}$ is linear between two betas.

    Args:
        betas_k: increasing, (k,) with k >= 2.
        variances_k: Var E at these, (k,), nats² at beta = 1.

    Raises:
        BadInput: betas that do not increase, or a variance that is negative or not finite.
    """
    betas, sigma = _validate_ladder(betas_k, variances_k)
    return np.concatenate([[0.0], np.cumsum(np.diff(betas) * (sigma[1:] + sigma[:-1]) / 2)])


def build_ladder(betas_k: ArrayLike, variances_k: ArrayLike, *, rungs: int) -> Floats:
    r"""Build inverse temperatures (rungs,) from the first beta to the last, at equal thermodynamic distances.

    Raises:
        BadInput: fewer than two rungs, an energy that does not vary, or invalid betas or variances.
    """
    if rungs < 2:
        raise BadInput(f"`rungs` must be at least 2, got {rungs}.")
    betas, sigma = _validate_ladder(betas_k, variances_k)
    length = thermodynamic_length(betas_k, variances_k)
    if length[-1] == 0:
        raise BadInput("the energy does not vary at any beta: no ladder is needed, one rung is enough.")
    goal = np.linspace(0, length[-1], rungs)[1:-1]
    k = np.searchsorted(length, goal, side="right") - 1
    rest, slope = goal - length[k], (sigma[k + 1] - sigma[k]) / (betas[k + 1] - betas[k])
    # The root of sigma t + slope t²/2 = rest in the form without cancellation.
    root = sigma[k] + np.sqrt(np.maximum(sigma[k] ** 2 + 2 * slope * rest, 0.0))
    inside = betas[k] + np.divide(2 * rest, root, out=np.zeros_like(rest), where=root > 0)
    return np.concatenate([betas[:1], np.clip(inside, betas[k], betas[k + 1]), betas[-1:]])


def exchange_rate(length: ArrayLike) -> Floats:
    r"""Mean acceptance of exchanges between two rungs `length` apart (any shape): $\mathrm{erfc}(\Lambda / 2)$.

    Exact in the limit of many degrees of freedom, where energies are Gaussian and Var E is that of the pair's mean
    beta; $\Delta E$ is then normal with variance twice its mean. 0.23, a usual target, is at length 1.7.

    Source: Kofke 2002, J. Chem. Phys. 117, 6911; Predescu, Predescu and Ciobanu 2004, J. Chem. Phys. 120, 4119.
    """
    from scipy.special import erfc

    return np.asarray(erfc(np.asarray(length, dtype=np.float64) / 2))


def exchange_rates(betas_k: ArrayLike, variances_k: ArrayLike) -> Floats:
    """Expected exchange rates between neighbouring rungs of a ladder, (k - 1,), for Gaussian energies.

    Raises:
        BadInput: invalid betas or variances.
    """
    return exchange_rate(np.diff(thermodynamic_length(betas_k, variances_k)))


def count_rungs(betas_k: ArrayLike, variances_k: ArrayLike, *, rate: float) -> int:
    """Count the rungs at equal distances that keep every exchange rate at `rate` or above.

    Raises:
        BadInput: a rate outside (0, 1), or invalid betas or variances.
    """
    from scipy.special import erfcinv

    if not 0 < rate < 1:
        raise BadInput(f"`rate` must be in (0, 1), such as 0.23, got {rate}.")
    total = thermodynamic_length(betas_k, variances_k)[-1]
    return 1 + max(1, int(np.ceil(total / (2 * float(erfcinv(rate))))))


def _validate_ladder(betas_k: ArrayLike, variances_k: ArrayLike) -> tuple[Floats, Floats]:
    """Return the betas and the standard deviations of the energy."""
    betas, variances = (np.asarray(a, dtype=np.float64) for a in (betas_k, variances_k))
    if betas.ndim != 1 or len(betas) < 2 or betas.shape != variances.shape:
        raise BadInput(f"expected two or more betas and as many variances, got {betas.shape} and {variances.shape}.")
    if not np.isfinite(betas).all() or (np.diff(betas) <= 0).any():
        raise BadInput(f"betas must be finite and increasing, got {betas.tolist()}.")
    bad = np.flatnonzero(~(np.isfinite(variances) & (variances >= 0)))
    if len(bad):
        raise BadInput(f"variances must be finite and at least 0, got {variances[bad[0]]} at beta {betas[bad[0]]:g}.")
    return betas, np.sqrt(variances)
