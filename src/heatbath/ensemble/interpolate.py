r"""Interpolation of log Z to any temperature between nodes.

In $x=\ln\beta$ the nodes give $f=\log Z$, $f'=-\beta U$ and $f''=-\beta U+\beta^2\mathrm{Var}E$, so that Hermite
interpolation over the four nearest nodes matches twelve numbers. All values are relative to the ground energy, which
avoids cancellation.

At a node all are exact. Between nodes log Z is right within `LogZ.error_bound`, U and S lie between their values at the
neighbouring nodes, and C is an estimate without a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.hermite import cardinal_jets
from heatbath.ensemble.row_layout import as_array
from heatbath.errors import BadInput
from heatbath.short_repr import short_repr

Floats = npt.NDArray[np.float64]

STENCIL_NODES = 4
SAFETY_FACTOR = 3.0
"""Ratio of `error_bound` to the estimate that it is based on."""
BETA_TOLERANCE = 1e-9
"""Relative tolerance at the ends of the nodes, for betas computed as 1/T."""


@dataclass(frozen=True, repr=False)
class LogZ:
    """log Z as a function of beta for ensembles (…), from values at the nodes `betas` (K,). NumPy arrays, nats.

    The fields `log_z_k` and `mean_energy_k` (…, K) are relative to `ground` (…): log Σ exp(-beta (E - E_0)) and
    <E> - E_0; `variance_k` is Var E; `uniform` is both of the former (…) at beta = 0, None where not computed. The
    methods take beta, one number or (…,), and return (…,) with the ground added; they raise `BadInput` outside the
    range of the nodes.
    """

    betas: Floats
    ground: Floats
    log_z_k: Floats
    mean_energy_k: Floats
    variance_k: Floats
    uniform: tuple[Floats, Floats] | None = None

    __repr__ = short_repr

    def log_z(self, beta: Any) -> Floats:
        r"""$\log Z(\beta)$ in the gauge of the energies."""
        points = self._validate_points(beta)
        return np.asarray(self._interpolate_jet(points)[0] - points * self.ground)

    def mean_energy(self, beta: Any) -> Floats:
        """U in the gauge of the energies, between its values at the two neighbouring nodes, since U falls with beta."""
        points = self._validate_points(beta)
        low, high = self._node_range(points, self.mean_energy_k)
        return np.asarray(self.ground + np.clip(-self._interpolate_jet(points)[1] / points, low, high))

    def variance(self, beta: Any) -> Floats:
        """Var E."""
        return np.asarray(self.heat_capacity(beta) / self._validate_points(beta) ** 2)

    def entropy(self, beta: Any) -> Floats:
        r"""$S=\log Z+\beta U$, between its values at the two neighbouring nodes, since S falls with beta."""
        points = self._validate_points(beta)
        value, slope, _ = self._interpolate_jet(points)
        low, high = self._node_range(points, self.log_z_k + self.betas * self.mean_energy_k)
        return np.asarray(np.clip(value - slope, low, high))

    def entropy_bounds(self, beta: Any) -> tuple[Floats, Floats]:
        """Return the values of S at the neighbouring nodes, the lower and the upper: S at beta lies between them.

        At a node both are its value.
        """
        points = self._validate_points(beta)
        entropies = self.log_z_k + self.betas * self.mean_energy_k
        low, high = self._node_range(points, entropies)
        distance = np.abs(points[..., None] / self.betas - 1.0)
        nearest, at_node = distance.argmin(-1), distance.min(-1) <= BETA_TOLERANCE
        own = _take_columns(entropies, np.broadcast_to(nearest, low.shape)[..., None])[..., 0]
        return np.where(at_node, own, low), np.where(at_node, own, high)

    def heat_capacity(self, beta: Any) -> Floats:
        r"""$C=\beta^2\mathrm{Var}E$: the curvature of the interpolant, without a bound between nodes.

        Where two groups of energies change places within an interval, C peaks between its nodes and this may miss the
        peak altogether; compute `ensemble.state` at such a temperature.
        """
        _, slope, bend = self._interpolate_jet(self._validate_points(beta))
        # Between nodes the interpolant can become slightly negative, which a variance cannot.
        return np.asarray(np.maximum(bend - slope, 0.0))

    def moments(self, beta: Any) -> tuple[Floats, Floats, Floats]:
        """Return log Z, U and Var E from one interpolation."""
        points = self._validate_points(beta)
        value, slope, bend = self._interpolate_jet(points)
        variance = np.maximum(bend - slope, 0.0) / points**2
        return value - points * self.ground, self.ground - slope / points, variance

    def moments_at(self, betas: Floats) -> tuple[Floats, Floats, Floats]:
        """Return log Z, U and Var E of every ensemble at each of many betas (g,), (g, …) each: one matrix product."""
        weights = self._dense_weights(self._validate_points(betas, many=True))
        every = np.arange(len(self.betas))
        data = np.concatenate([column.reshape(-1, len(every)) for column in self._node_jets(every)], axis=1)
        jets = (weights @ data.T).reshape(3, len(betas), *np.shape(self.ground))
        points = betas.reshape(-1, *[1] * np.ndim(self.ground))
        value, slope, bend = jets
        variance = np.maximum(bend - slope, 0.0) / points**2
        return value - points * self.ground, self.ground - slope / points, variance

    def _dense_weights(self, points: Floats) -> Floats:
        """Return the weights of all data at all nodes for the jets at `points` (g,), (3 g, 3 K)."""
        grid, width = np.log(self.betas), min(STENCIL_NODES, len(self.betas))
        x = np.log(points)
        start = np.clip(self._find_interval(x) - width // 2 + 1, 0, len(grid) - width)
        stencil = start[:, None] + np.arange(width)
        jets = cardinal_jets(x, grid[stencil])
        dense = np.zeros((3, len(points), 3, len(grid)))
        dense[:, np.arange(len(points))[:, None], :, stencil] = jets.transpose(2, 3, 0, 1)
        return dense.reshape(3 * len(points), -1)

    def error_bound(self, beta: Any) -> Floats:
        """Return a bound on the error of `log_z` at beta, (…) nats; 0 at a node. There is none for U, S and C.

        The smaller of two numbers: three times the largest difference between interpolation over four nodes and over
        two, in this interval and its neighbours; and the gap that convexity leaves between chord and tangents. The
        second is a theorem. The first estimates the error of the coarser interpolation, far above that of the finer one
        unless log Z bends within less than an interval.
        """
        points = self._validate_points(beta)
        x, grid = np.log(points), np.log(self.betas)
        left = self._find_interval(x)
        around = [np.clip(left + step, 0, len(grid) - 2) for step in (-1, 0, 1)]
        gap = np.max([self._stencil_disagreement(interval) for interval in around], axis=0)
        away = np.minimum(x - grid[left], grid[left + 1] - x) > BETA_TOLERANCE
        return np.asarray(np.where(away, np.minimum(SAFETY_FACTOR * gap, self._convexity_gap(points, left)), 0.0))

    def _node_range(self, points: Floats, columns: Floats) -> tuple[Floats, Floats]:
        """Return the values (…) at the right and the left node of a quantity (…, K) that falls with beta."""
        both = self._find_interval(np.log(points))[..., None] + np.arange(2)
        values = _take_columns(columns, both)
        return np.minimum(values[..., 1], values[..., 0]), values[..., 0]

    def _stencil_disagreement(self, left: npt.NDArray[np.intp]) -> Floats:
        """Return the largest difference (…) between interpolations over four nodes and over two within an interval."""
        low, high = self.betas[left], self.betas[left + 1]
        inside = [low * (high / low) ** share for share in (0.25, 0.5, 0.75)]
        return np.asarray(
            np.max(
                [np.abs(self._interpolate_jet(at, left)[0] - self._interpolate_jet(at, left, 2)[0]) for at in inside],
                axis=0,
            )
        )

    def _validate_points(self, beta: Any, *, many: bool = False) -> Floats:
        """Return beta for each ensemble (…), or `many`. Raises `BadInput` outside the nodes or for a wrong shape."""
        points, shape = np.asarray(as_array(beta), np.float64), np.shape(self.ground)
        low, high = float(self.betas[0]), float(self.betas[-1])
        bad = ~((points >= low * (1 - BETA_TOLERANCE)) & (points <= high * (1 + BETA_TOLERANCE)))
        if bad.any():
            raise BadInput(
                f"`beta` must be in [{low:.4g}, {high:.4g}], that is T in [{1 / high:.4g}, {1 / low:.4g}], "
                f"got {points[bad].flat[0]:g}."
            )
        if not many and points.shape not in ((), shape):
            raise BadInput(f"`beta` must be one number or one per ensemble, {shape}, got shape {points.shape}.")
        return points

    def _find_interval(self, x: Floats) -> npt.NDArray[np.intp]:
        """Return the node to the left of each x."""
        return np.clip(np.searchsorted(np.log(self.betas), x, side="right") - 1, 0, len(self.betas) - 2)

    def _interpolate_jet(self, points: Floats, left: Any = None, width: int = STENCIL_NODES) -> Floats:
        """Interpolate relative log Z and two derivatives in ln beta, (3, …), from the `width` nearest nodes."""
        x, width = np.log(points), min(width, len(self.betas))
        start = np.clip((self._find_interval(x) if left is None else left) - width // 2 + 1, 0, len(self.betas) - width)
        stencil = start[..., None] + np.arange(width)
        nodes = np.log(self.betas)[stencil]
        weights = cardinal_jets(x, nodes) if x.ndim else _jets_at(float(x), tuple(nodes.tolist()))
        data = np.stack(self._node_jets(stencil))
        return np.asarray(np.einsum("od...j,d...j->o...", weights, data, optimize=True))

    def _node_jets(self, stencil: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Return relative log Z and two derivatives in ln beta at the nodes of a stencil (J,) or (…, J)."""
        betas = self.betas[stencil]
        log_z, mean, variance = (_take_columns(a, stencil) for a in (self.log_z_k, self.mean_energy_k, self.variance_k))
        return log_z, -betas * mean, betas * (betas * variance - mean)

    def _convexity_gap(self, points: Floats, left: npt.NDArray[np.intp]) -> Floats:
        """Bound the distance of the interpolant from convex functions with these values and slopes at the nodes."""
        both = left[..., None] + np.arange(2)
        betas, log_z, mean = (
            self.betas[both],
            _take_columns(self.log_z_k, both),
            _take_columns(self.mean_energy_k, both),
        )
        share = (points - betas[..., 0]) / (betas[..., 1] - betas[..., 0])
        chord = (1.0 - share) * log_z[..., 0] + share * log_z[..., 1]
        tangents = (log_z - mean * (points[..., None] - betas)).max(-1)
        value = self._interpolate_jet(points, left)[0]
        return np.asarray(np.maximum(np.abs(chord - value), np.abs(value - tangents)))


@lru_cache(maxsize=1024)
def _jets_at(x: float, nodes: tuple[float, ...]) -> Floats:
    """Return the weights of the nodes at one x; the same few temperatures are asked for again and again."""
    weights = cardinal_jets(np.asarray(x), np.asarray(nodes))
    weights.setflags(write=False)
    return weights


def _take_columns(columns: Floats, stencil: npt.NDArray[np.intp]) -> Floats:
    """Select the columns (…, J) of (…, K) by a stencil (J,) or (…, J), in float64."""
    if stencil.ndim == 1:
        return np.asarray(columns[..., stencil], np.float64)
    return np.asarray(np.take_along_axis(columns, stencil, axis=-1), np.float64)
