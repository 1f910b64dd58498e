"""Reductions and draws over `Rows`: rows on the CPU go to compiled loops, CUDA tensors to Triton.

Kernels are imported at the first call.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.row_layout import EnergyRows

Floats = npt.NDArray[np.float64]


def _backend(rows: EnergyRows) -> Any:
    if rows.is_on_device:
        return import_module("heatbath.kernels.cuda")
    return import_module("heatbath.kernels.cpu")


def sums(rows: EnergyRows, betas: Floats) -> Floats:
    r"""Return ground energy, $Z$, $\sum wd$, $\sum wd^2$, $\sum w^2$ as (5, K, N), at betas (N or 1, K).

    Visits every state. $w=e^{-\beta d}$, $d=E-E_0$. Raises NotANumber or BadInput naming the first bad row.
    """
    return _finish(rows, _backend(rows).sums(rows.words, betas))


def fast_sums(rows: EnergyRows, betas: Floats) -> Floats:
    """Return the same at shared betas (K,), from a density of states where that is cheaper."""
    return _finish(rows, _backend(rows).fast_sums(rows.words, betas))


def observed_sums(rows: EnergyRows, shared: Floats, own: Floats) -> tuple[Floats, Floats]:
    """Return `fast_sums` at shared betas (K,) as (5, K, N), and `sums` at one beta per row (N,) as (5, N)."""
    table = _finish(rows, _backend(rows).observed_sums(rows.words, shared, own))
    return table[:, :-1], table[:, -1]


def select_states(rows: EnergyRows, index: npt.NDArray[np.int64]) -> Floats:
    """Return the energy of one state per row and the number of states strictly below it, as (2, N)."""
    return np.ascontiguousarray(_backend(rows).select_states(rows.words, index).T)


def draw(rows: EnergyRows, betas: Floats, uniform: Floats) -> npt.NDArray[np.int64]:
    """Return the state of each row at which its cumulative weight first exceeds `uniform` of the total."""
    index, status = _backend(rows).draw(rows.words, betas, uniform)
    rows.raise_for_status(status)
    return index  # type: ignore[no-any-return]


def observed_draw(
    rows: EnergyRows, betas: Floats, uniform: Floats, also: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return `draw` and (8, N): ground, the four sums, the drawn energy, the states below it, Z at `also`.

    One pass over the energies on the CPU.
    """
    if rows.is_on_device:
        index = draw(rows, betas, uniform)
        relative, picked = sums(rows, betas[:, None])[:, 0], select_states(rows, index)
        return index, np.concatenate([relative, picked, sums(rows, np.full((1, 1), also))[1]])
    index, table = _backend(rows).observed_draw(rows.words, betas, uniform, also)
    rows.raise_for_status(table[:, 0])
    return index, np.ascontiguousarray(table[:, 1:].T)


def _finish(rows: EnergyRows, table: Floats) -> Floats:
    """Check the status column of (N, K, 6) and transpose the rest to (5, K, N)."""
    if table.shape[1]:
        rows.raise_for_status(table[:, 0, 0])
    return np.ascontiguousarray(table[:, :, 1:].transpose(2, 1, 0))
