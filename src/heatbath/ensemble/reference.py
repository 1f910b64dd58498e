r"""The definitions in plain float64 NumPy, as a reference for every kernel.

$Z=\sum_v e^{-\beta E_v}$, $p_v=e^{-\beta E_v}/Z$, $U=\sum p_vE_v$, $\mathrm{Var}E=\sum p_v(E_v-U)^2$,
$S=-\sum p_v\ln p_v$, $C=\beta^2\mathrm{Var}E$.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def probabilities(energies: Floats, beta: float) -> Floats:
    """Return p (V,) of one row; uniform over the finite energies at beta = 0, over the ground states at beta = inf."""
    present = np.isfinite(energies)
    if math.isinf(beta):
        weights = (energies == energies[present].min()).astype(np.float64)
    else:
        weights = np.zeros(len(energies))
        weights[present] = np.exp(-beta * (energies[present] - energies[present].min()))
    return np.asarray(weights / weights.sum())


def thermodynamics(energies: Floats, beta: float) -> dict[str, float]:
    """Compute the fields of a `State` for one row (V,) from their definitions."""
    present = np.isfinite(energies)
    e, p = energies[present], probabilities(energies, beta)[present]
    ground = e.min()
    mean = ground + float((p * (e - ground)).sum())
    variance = float((p * (e - mean) ** 2).sum())
    positive = p[p > 0.0]
    return {
        "ground": float(ground),
        "log_z": math.nan if math.isinf(beta) else -beta * float(ground) - math.log(p.max()),
        "mean_energy": mean,
        "variance": variance,
        "entropy": float(-(positive * np.log(positive)).sum()),
        "heat_capacity": 0.0 if math.isinf(beta) else beta * beta * variance,
        "p_max": float(p.max()),
        "purity": float((p * p).sum()),
    }


def rank(energies: Floats, index: int) -> int:
    """Return 1 + the number of states with strictly lower energy."""
    return 1 + int((energies < energies[index]).sum())


def draw(energies: Floats, beta: float, uniform: float) -> int:
    """Return the first state whose cumulative probability exceeds `uniform`."""
    return int(np.searchsorted(np.cumsum(probabilities(energies, beta)), uniform, side="right"))
