"""Draws by inverting the cumulative distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import reductions
from heatbath.ensemble.row_layout import EnergyRows, as_rows
from heatbath.ensemble.state import State, build_state, validate_betas
from heatbath.errors import BadInput


def quantile(energies: Any, beta: Any, uniform: Any) -> npt.NDArray[np.int64]:
    r"""The state at which the cumulative probability, in the order of the vocabulary, first exceeds `uniform`.

    `energies` (…, V), `beta` one number or (…,), `uniform` (…,) in [0, 1); int64 (…,) on the CPU. With `uniform`
    drawn from [0, 1) the state is distributed as $e^{-\beta E}/Z$. An absent state is never drawn. Raises as `state`
    does, and BadInput for a `uniform` outside [0, 1).
    """
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    return reductions.draw(ensembles, betas, _validate_uniform(ensembles, uniform)).reshape(ensembles.lead_shape)


def observed_draw(energies: Any, beta: Any, uniform: Any) -> tuple[npt.NDArray[np.int64], State, Any]:
    """A draw and what it is from, in one reading of the energies on the CPU.

    That is `quantile(energies, beta, uniform)`; `state(energies, beta, index=…)` of what was drawn; and the
    log-probability of the same states at beta = 1, (…).
    """
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    index, table = reductions.observed_draw(ensembles, betas, _validate_uniform(ensembles, uniform), 1.0)
    relative, picked, plain_z = table[:5], table[5:7], table[7]
    plain = ensembles.restore(relative[0] - picked[0] - np.log(plain_z))
    return index.reshape(ensembles.lead_shape), build_state(ensembles, betas, relative, picked), plain


def _validate_uniform(ensembles: EnergyRows, uniform: Any) -> npt.NDArray[np.float64]:
    levels = ensembles.broadcast(uniform, "uniform")
    bad = np.flatnonzero(~((levels >= 0.0) & (levels < 1.0)))
    if bad.size:
        raise BadInput(f"uniform = {levels[bad[0]]:g} is not a quantile: give numbers from 0 up to, but not, 1.")
    return levels
