"""The same energies at many temperatures, from one density of states."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import reductions
from heatbath.ensemble.interpolate import LogZ
from heatbath.ensemble.row_layout import EnergyRows, as_array, as_rows
from heatbath.ensemble.state import State, build_state, select_states, validate_betas
from heatbath.errors import BadInput


def _build_node_betas(low: float, high: float, count: int) -> npt.NDArray[np.float64]:
    """Points from low to high whose spacing in the logarithm grows threefold from the first interval to the last."""
    share = (3.0 ** (np.arange(count) / (count - 1)) - 1.0) / 2.0
    points = low * (high / low) ** share
    points[-1] = high
    points.setflags(write=False)
    return points


NODE_BETAS = _build_node_betas(1.0 / 3.0, 10.0, 16)
"""Where a record keeps log_z, U and Var E: 16 inverse temperatures, for T from 0.1 to 3.

They are closer at high temperature, where tens of thousands of states compete with a few and log Z bends most.
"""


def curve(energies: Any, betas: Any) -> State:
    """Thermodynamics of `energies` (…, V) at every one of `betas` (K,): a State of arrays (K, …).

    The energies are read once. Error from the density of states at most 1e-5 nats on log_z and entropy, 1e-4 on the
    heat capacity, for any energies. Raises as `state` does.
    """
    ensembles = as_rows(energies)
    points = np.asarray(as_array(betas), np.float64)
    if points.ndim != 1:
        raise BadInput(f"betas have shape {points.shape}: give a list of inverse temperatures.")
    return build_state(ensembles, validate_betas(points)[:, None], reductions.fast_sums(ensembles, points))


def nodes(energies: Any) -> LogZ:
    """log_z, U and Var E of `energies` (…, V) at `NODE_BETAS`, from which any T in [0.1, 3] can be interpolated.

    NumPy arrays on the CPU, whatever the energies are. Raises as `state` does.
    """
    ensembles = as_rows(energies)
    return _build_log_z(ensembles, reductions.fast_sums(ensembles, np.asarray(NODE_BETAS)))


def observe(energies: Any, beta: Any = 1.0, index: Any = None) -> tuple[State, LogZ]:
    """`state(energies, beta, index=index)` and `nodes(energies)`; in one pass where energies have 16 bits."""
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    picked = None if index is None else select_states(ensembles, index)
    relative, own = reductions.observed_sums(ensembles, np.asarray(NODE_BETAS), betas)
    return build_state(ensembles, betas, own, picked), _build_log_z(ensembles, relative)


def _build_log_z(ensembles: EnergyRows, relative: npt.NDArray[np.float64]) -> LogZ:
    """A LogZ from sums relative to the ground (5, K, N)."""
    ground, z, m1, m2, _ = relative
    mean = m1 / z
    variance = np.maximum(m2 / z - mean * mean, 0.0)
    shaped = [np.moveaxis(a, 0, -1).reshape((*ensembles.lead_shape, -1)) for a in (np.log(z), mean, variance)]
    return LogZ(np.asarray(NODE_BETAS), ground[0].reshape(ensembles.lead_shape), *shaped)
