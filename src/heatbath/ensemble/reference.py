r"""The definitions written out in float64: what every kernel is checked against.

$Z=\sum_v e^{-\beta E_v}$, $p_v=e^{-\beta E_v}/Z$, $U=\sum p_vE_v$, $\mathrm{Var}E=\sum p_v(E_v-U)^2$,
$S=-\sum p_v\ln p_v$, $C=\beta^2\mathrm{Var}E$.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def probabilities(energies: Floats, beta: float) -> Floats:
    """p (V,) of one row; uniform over what is present at beta = 0, over the ground states at beta = inf."""
    present = np.isfinite(energies)
    if math.isinf(beta):
        weights = (energies == energies[present].min()).astype(np.float64)
    else:
        weights = np.zeros(len(energies))
        weights[present] = np.exp(-beta * (energies[present] - energies[present].min()))
    return np.asarray(weights / weights.sum())


def thermodynamics(energies: Floats, beta: float) -> dict[str, float]:
    """What a State holds, of one row (V,), by definition."""
    kept = np.isfinite(energies)
    e, p = energies[kept], probabilities(energies, beta)[kept]
    ground = e.min()
    mean = ground + float((p * (e - ground)).sum())
    variance = float((p * (e - mean) ** 2).sum())
    held = p[p > 0.0]
    return {
        "ground": float(ground),
        "log_z": math.nan if math.isinf(beta) else -beta * float(ground) - math.log(p.max()),
        "mean_energy": mean,
        "variance": variance,
        "entropy": float(-(held * np.log(held)).sum()),
        "heat_capacity": 0.0 if math.isinf(beta) else beta * beta * variance,
        "p_max": float(p.max()),
        "purity": float((p * p).sum()),
    }


def rank(energies: Floats, index: int) -> int:
    """1 + the number of states of strictly lower energy."""
    return 1 + int((energies < energies[index]).sum())


def draw(energies: Floats, beta: float, uniform: float) -> int:
    """The first state whose cumulative probability exceeds `uniform`."""
    return int(np.searchsorted(np.cumsum(probabilities(energies, beta)), uniform, side="right"))
