"""Which edges of a phase map a step crosses, for the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput


def find_edge_crossings(temperatures: npt.ArrayLike, edges: Mapping[str, float]) -> list[tuple[int, str, int]]:
    r"""Steps t of the temperatures (t,) of one row that cross an edge: (t, name, +1 if heating or -1 if cooling).

    A step crosses the edge $T_e$ when $T_{t-1}$ and $T_t$ lie on different sides of it, $T=T_e$ being its upper side;
    edges that one step crosses come in the order it meets them. Raises BadInput for NaN among the numbers.
    """
    values = np.asarray(temperatures, np.float64).reshape(-1)
    if np.isnan(values).any() or np.isnan(list(edges.values())).any():
        raise BadInput("temperatures and edges hold a NaN: give numbers.")
    found: list[tuple[int, str, int]] = []
    for t in range(1, len(values)):
        found.extend((t, name, sign) for name, sign in _edges_between(values[t - 1], values[t], edges))
    return found


def _edges_between(before: float, after: float, edges: Mapping[str, float]) -> Sequence[tuple[str, int]]:
    sign = 1 if after > before else -1
    met = [(edge, name) for name, edge in edges.items() if (before >= edge) != (after >= edge)]
    return [(name, sign) for _, name in sorted(met, reverse=sign < 0)]
