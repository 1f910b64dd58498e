"""Thermodynamics at many temperatures from one density of states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import reductions
from heatbath.ensemble.interpolate import LogZ
from heatbath.ensemble.row_layout import EnergyRows, as_array, as_rows
from heatbath.ensemble.state import State, build_state, select_states, validate_betas
from heatbath.errors import BadInput


def _build_node_betas(low: float, high: float, count: int) -> npt.NDArray[np.float64]:
    """Build betas from low to high whose logarithmic spacing grows threefold from the first interval to the last."""
    share = (3.0 ** (np.arange(count) / (count - 1)) - 1.0) / 2.0
    points = low * (high / low) ** share
    points[-1] = high
    points.setflags(write=False)
    return points


NODE_BETAS = _build_node_betas(1.0 / 3.0, 10.0, 16)
"""The 16 inverse temperatures, T from 0.1 to 3, at which a record keeps log_z, U and Var E.

They are denser at high temperature, where tens of thousands of states compete with a few and log Z bends most.
"""

_NODES_AND_ZERO = np.append(NODE_BETAS, 0.0)


def curve(energies: Any, betas: Any) -> State:
    """Compute the thermodynamics of `energies` (…, V) at all `betas` (K,): a `State` of arrays (K, …).

    The energies are read once. The density of states causes an error of at most 1e-5 nats on log_z and entropy, and
    1e-4 on the heat capacity, for any energies. Raises as `state` does.
    """
    ensembles = as_rows(energies)
    points = np.asarray(as_array(betas), np.float64)
    if points.ndim != 1:
        raise BadInput(f"`betas` must be a flat list of inverse temperatures, got shape {points.shape}.")
    return build_state(ensembles, validate_betas(points)[:, None], reductions.fast_sums(ensembles, points))


def nodes(energies: Any) -> LogZ:
    """Compute log_z, U and Var E of `energies` (…, V) at `NODE_BETAS`, to interpolate at any T in [0.1, 3].

    The result holds NumPy arrays on the CPU for any kind of energies. Raises as `state` does.
    """
    ensembles = as_rows(energies)
    return _build_log_z(ensembles, reductions.fast_sums(ensembles, np.asarray(NODE_BETAS)))


def observe(energies: Any, beta: Any = 1.0, index: Any = None) -> tuple[State, LogZ]:
    """Compute `state(energies, beta, index=index)` and `nodes(energies)`, in one pass for 16-bit energies.

    The nodes also have the sums at beta = 0, as `LogZ.uniform`.
    """
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    selected = None if index is None else select_states(ensembles, index)
    relative, own = reductions.observed_sums(ensembles, _NODES_AND_ZERO, betas)
    log_z = _build_log_z(ensembles, relative[:, :-1])
    _, count, total, _, _ = relative[:, -1].reshape((5, *ensembles.lead_shape))
    return build_state(ensembles, betas, own, selected), replace(log_z, uniform=(np.log(count), total / count))


def _build_log_z(ensembles: EnergyRows, relative: npt.NDArray[np.float64]) -> LogZ:
    """Build a `LogZ` from sums relative to the ground (5, K, N)."""
    ground, z, m1, m2, _ = relative
    mean = m1 / z
    variance = np.maximum(m2 / z - mean * mean, 0.0)
    shaped = [np.moveaxis(a, 0, -1).reshape((*ensembles.lead_shape, -1)) for a in (np.log(z), mean, variance)]
    return LogZ(np.asarray(NODE_BETAS), ground[0].reshape(ensembles.lead_shape), *shaped)
