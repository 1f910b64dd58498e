"""Build records from energies: all columns of a batch of ensembles in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath import ensemble
from heatbath.ensemble import LogZ, State
from heatbath.record.record import NODE_COLUMNS, THERMO_COLUMNS, UNIFORM_COLUMNS, Array, Record

Floats = NDArray[np.float64]


def observe(energies: Any, tokens: Sequence[int] | Array, *, beta: float | Floats = 1.0) -> Record:
    r"""Return the record of the ensembles `energies` (B, V) and of one state of each, `tokens` (B,).

    Columns (B,) are evaluated at `beta` (scalar or (B,)); the nodes \(\ln Z, U, \mathrm{Var}\,E\) at `NODE_BETAS`; and
    `UNIFORM_COLUMNS` at T = inf.

    Raises:
        NotANumber: an energy is NaN.
        BadInput: an ensemble has no states.
    """
    index = np.asarray(tokens, dtype=np.int64)
    state, log_z = ensemble.observe(energies, beta, index)
    return record_from_state(state).with_columns({**_build_node_columns(log_z), **_build_uniform_columns(log_z)})


def observe_state(energies: Any, tokens: Sequence[int] | Array, *, beta: float | Floats = 1.0) -> Record:
    """Return the record without nodes: valid at its own temperature alone. Arguments as in `observe`."""
    return record_from_state(ensemble.state(energies, beta, index=np.asarray(tokens, dtype=np.int64)))


def record_from_state(state: State) -> Record:
    """Return the columns of a `State` (B,) that was computed with `index`."""
    columns = {name: _to_float64(getattr(state, name)) for name in THERMO_COLUMNS}
    return Record(columns | {"temperature": temperature_from_beta(_to_float64(state.beta))})


def observe_nodes(energies: Any, tokens: Sequence[int] | Array) -> Record:
    """Return the smallest record that can be evaluated at any temperature: energy, ground and nodes."""
    index = np.asarray(tokens, dtype=np.int64)
    log_z = ensemble.nodes(energies)
    columns = {
        "energy": _to_float64(_gather_energies(energies, index)),
        "ground": np.asarray(log_z.ground, dtype=np.float64),
    }
    return Record(columns | _build_node_columns(log_z))


def temperature_from_beta(beta: float | Floats) -> Floats:
    """1/beta; 0 for beta = inf, and inf for beta = 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1.0 / np.asarray(beta, dtype=np.float64))


def _build_node_columns(log_z: LogZ) -> dict[str, Array]:
    values = (log_z.log_z_k, log_z.mean_energy_k, log_z.variance_k)
    return {name: np.asarray(value, dtype=np.float32) for name, value in zip(NODE_COLUMNS, values, strict=True)}


def _build_uniform_columns(log_z: LogZ) -> dict[str, Array]:
    assert log_z.uniform is not None
    log_count, above = log_z.uniform
    values = (np.asarray(log_count, np.float64), np.asarray(above + log_z.ground, np.float64))
    return dict(zip(UNIFORM_COLUMNS, values, strict=True))


def _gather_energies(energies: Any, index: Array) -> Any:
    if isinstance(energies, np.ndarray):
        return np.take_along_axis(energies, index[:, None], axis=-1)[:, 0]
    return energies[list(range(len(index))), index.tolist()]


def _to_float64(values: Any) -> Array:
    on_host = values.cpu() if hasattr(values, "cpu") else values
    return np.asarray(on_host, dtype=np.float64)
