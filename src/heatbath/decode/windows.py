r"""Windows are cuts in energy: a state stays when its energy lies within a reach of the ground state's.

The order is fixed. Fields add to the energies, the temperature makes a distribution of them, and the window cuts that
tempered distribution. The reach depends on the row alone, so states of equal energy stay or go together: ties at the
border all stay, and a top-k window may keep more than k. At T = 0 a window sees the ground states alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.arrays import asarray_like, to_numpy
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
Reach = Callable[[npt.NDArray[Any], Floats], Floats]


@dataclass(frozen=True)
class Window:
    """`reach(excess, betas)` says how far above the ground state (B,) energies stay; `excess` (B, V) is E - E_min."""

    label: str
    reach: Reach

    def __call__(self, energies: Any, betas: Floats) -> Any:
        """Energies (B, V) with +inf outside the window, in the library and type of `energies`."""
        values = to_numpy(energies).astype(np.float64)
        with np.errstate(invalid="ignore"):
            excess = values - values.min(-1, keepdims=True)
        outside = ~(excess <= self.reach(excess, betas)[:, None])
        # NaN must stay NaN, for the draw to find it, so outside is added and not written.
        return energies + asarray_like(np.where(outside, np.inf, 0.0), energies)


def top_k(k: int) -> Window:
    """The k states of lowest energy, and every tie with the last of them. Raises `BadInput` for k < 1.

    Source: Fan, Lewis and Dauphin 2018, arXiv:1805.04833.
    """
    if k < 1:
        raise BadInput(f"top_k keeps {k} states: give at least 1.")

    def reach(excess: npt.NDArray[Any], betas: Floats) -> Floats:
        if k >= excess.shape[-1]:
            return np.full(len(excess), np.inf)
        return np.asarray(np.partition(excess, k - 1, axis=-1)[:, k - 1])

    return Window(f"top_k={k}", reach)


def top_p(p: float) -> Window:
    """The fewest states of lowest energy whose probability reaches p, and ties. Raises `BadInput` unless 0 < p <= 1.

    Source: Holtzman et al. 2020, arXiv:1904.09751.
    """
    if not 0 < p <= 1:
        raise BadInput(f"top_p is {p}: give a number above 0, at most 1.")

    def reach(excess: npt.NDArray[Any], betas: Floats) -> Floats:
        if p == 1:
            return np.full(len(excess), np.inf)
        ordered = np.sort(excess, axis=-1)
        cumulative = np.cumsum(_weights(ordered, betas), axis=-1)
        last = (cumulative < p * cumulative[:, -1:]).sum(-1)
        return np.asarray(np.take_along_axis(ordered, last[:, None], axis=-1)[:, 0])

    return Window(f"top_p={p:g}", reach)


def min_p(p: float) -> Window:
    r"""States at least p times as probable as the most probable: $E - E_{min} \le -\ln p / \beta$.

    Raises `BadInput` unless 0 <= p <= 1. Source: Nguyen et al. 2024, arXiv:2407.01082.
    """
    if not 0 <= p <= 1:
        raise BadInput(f"min_p is {p}: give a number from 0 to 1.")

    def reach(excess: npt.NDArray[Any], betas: Floats) -> Floats:
        if p == 0:
            return np.full(len(excess), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(betas == 0, np.inf, -np.log(p) / betas)

    return Window(f"min_p={p:g}", reach)


def applied(windows: Sequence[Window], energies: Any, betas: Floats) -> Any:
    """Energies after one window upon another, each cutting what the one before has left."""
    for window in windows:
        energies = window(energies, betas)
    return energies


def _weights(excess: npt.NDArray[Any], betas: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        exponent = betas[:, None] * excess
    # 0 at the ground state for every beta, absent states absent at beta = 0.
    exponent = np.where(excess == 0, 0.0, np.where(np.isinf(excess), np.inf, exponent))
    return np.asarray(np.exp(-exponent))
