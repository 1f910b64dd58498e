"""Sampling by inversion of the cumulative distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import reductions
from heatbath.ensemble.row_layout import EnergyRows, as_rows
from heatbath.ensemble.state import State, build_state, validate_betas
from heatbath.errors import BadInput


def quantile(energies: Any, beta: Any, uniform: Any) -> npt.NDArray[np.int64]:
    r"""Return the first state, in the order of the vocabulary, at which the cumulative probability exceeds `uniform`.

    `energies` (…, V), `beta` one number or (…,), `uniform` (…,) in [0, 1); int64 (…,) on the CPU. With `uniform`
    drawn from [0, 1) the state is distributed as $e^{-\beta E}/Z$. An absent state is never drawn. Raises as `state`
    does, and `BadInput` for a `uniform` outside [0, 1).
    """
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    return reductions.draw(ensembles, betas, _validate_uniform(ensembles, uniform)).reshape(ensembles.lead_shape)


def observed_draw(energies: Any, beta: Any, uniform: Any) -> tuple[npt.NDArray[np.int64], State, Any]:
    """Draw states and compute their thermodynamics in one pass over the energies on the CPU.

    Returns `quantile(energies, beta, uniform)`; `state(energies, beta, index=…)` of the states drawn; and their
    log-probabilities at beta = 1, (…).
    """
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    index, table = reductions.observed_draw(ensembles, betas, _validate_uniform(ensembles, uniform), 1.0)
    relative, selected, unit_z = table[:5], table[5:7], table[7]
    logprobs = ensembles.restore(relative[0] - selected[0] - np.log(unit_z))
    return index.reshape(ensembles.lead_shape), build_state(ensembles, betas, relative, selected), logprobs


def _validate_uniform(ensembles: EnergyRows, uniform: Any) -> npt.NDArray[np.float64]:
    levels = ensembles.broadcast(uniform, "uniform")
    bad = np.flatnonzero(~((levels >= 0.0) & (levels < 1.0)))
    if bad.size:
        raise BadInput(f"`uniform` must be in [0, 1), got {levels[bad[0]]:g}.")
    return levels
