r"""Two estimators of the temperature where long-range order ends, from the disordered and from the ordered side.

* flow: the map of the tag fraction under doubling a text; order grows where its slope exceeds one.
* plateau: the variance of the tag fraction that remains in an infinite text; it vanishes where order ends.

Growth of tau with N is not sufficient: in the urn model it grows up to twice the critical temperature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.criticality import extrapolate_plateau, flow_slope
from heatbath.estimate.crossings import estimate_zero_crossing
from heatbath.estimate.finite_size import EdgeEstimate, estimate_edge

Floats = NDArray[np.float64]

# Below this the flow of a short memory saturates at one half (log2: -1) and is no longer linear in beta.
_FLOW_FLOOR = -0.75
# A flow this close to zero counts as ordered; in frozen sequences it is zero up to sampling noise.
_ORDERED_MARGIN = 0.05
_SIZE_RATIO = 4


@dataclass(frozen=True)
class OrderData:
    """Order parameters of independent sequences: m_sn (s, n) for each temperature k, at doubling sizes s."""

    temperatures_k: Floats
    sizes: tuple[int, ...]
    means_k: list[Floats]

    def resample(self, rng: np.random.Generator) -> OrderData:
        """Resample sequences with replacement within each temperature."""
        draws = [m[:, rng.integers(m.shape[1], size=m.shape[1])] for m in self.means_k]
        return OrderData(self.temperatures_k, self.sizes, draws)

    def flow(self, doubling: int) -> Floats:
        """Return log2 of the flow slope from size `doubling - 1` to `doubling` at each temperature, (k,)."""
        slopes = np.array([flow_slope(m[doubling - 1], m[doubling]) for m in self.means_k])
        return np.asarray(np.log2(np.maximum(slopes, 1e-3)))


def project_to_principal_axis(means_ksna: list[Floats]) -> list[Floats]:
    """Project the fractions of several tags on their leading principal axis over all temperatures, (s, n) each."""
    deviations = np.concatenate([m[-1] - m[-1].mean(0) for m in means_ksna])
    axis = np.linalg.svd(deviations, full_matrices=False)[2][0]
    return [m @ axis for m in means_ksna]


def estimate_order_edges(
    data: OrderData, rng: np.random.Generator, *, replicas: int = 200
) -> tuple[EdgeEstimate, EdgeEstimate]:
    """Estimate the end of long-range order by flow and by plateau at sizes N/4, N/2 and N, with bootstrap intervals."""
    last = len(data.sizes) - 1
    steps = range(last - 2, last + 1)
    draws = [data.resample(rng) for _ in range(replicas)]
    # The plateau is already extrapolated in N and noisy at small sizes; the test for fading order uses the flow.
    estimators = (
        ("flow of the tag fraction", _flow_edge, _drift_without_transition(data, last)),
        ("plateau of its variance", _plateau_edge, 0.0),
    )
    edges = []
    for name, edge, fade in estimators:
        at_size = {data.sizes[i]: edge(data, i) for i in steps}
        edges.append(estimate_edge(name, at_size, np.array([[edge(draw, i) for i in steps] for draw in draws]), fade))
    return edges[0], edges[1]


def _flow_edge(data: OrderData, size: int) -> float:
    slope, offset = _flow_line(data, size)
    beta = -offset / slope if slope > 0 else np.nan
    beta_k = 1 / data.temperatures_k
    return float(1 / beta) if beta_k.min() < beta < beta_k.max() else float("nan")


def _flow_line(data: OrderData, size: int) -> tuple[float, float]:
    """Fit the flow as a line in beta on the disordered side, down to the first ordered temperature."""
    order = np.argsort(1 / data.temperatures_k)
    beta_k, flow_k = (1 / data.temperatures_k)[order], data.flow(size)[order]
    ordered = np.flatnonzero(flow_k > -_ORDERED_MARGIN)
    if len(ordered) == 0:
        return np.nan, np.nan
    use = np.flatnonzero(flow_k[: ordered[0] + 1] > _FLOW_FLOOR)
    if len(use) < 3:
        return np.nan, np.nan
    slope, offset = np.polyfit(beta_k[use], flow_k[use], 1)
    return float(slope), float(offset)


def _drift_without_transition(data: OrderData, size: int) -> float:
    """Return the step in T per doubling for a chain with finite memory: its flow falls by a quarter per doubling."""
    slope, offset = _flow_line(data, size)
    return 0.25 * slope / offset**2 if slope > 0 else 0.0


def _plateau_edge(data: OrderData, size: int) -> float:
    step = int(np.log2(_SIZE_RATIO))
    triples = np.array([[m[i].var(ddof=1) for i in (size - 2 * step, size - step, size)] for m in data.means_k])
    variance_k = np.array([extrapolate_plateau(v) if v[-1] > 1e-12 else 0.0 for v in triples])
    return estimate_zero_crossing(data.temperatures_k, variance_k)
