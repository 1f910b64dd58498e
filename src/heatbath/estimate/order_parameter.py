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
    """Order parameters of independent sequences: m_sn (..., s, n) for each temperature k, at doubling sizes s.

    Leading axes are those of resamples, and every result has them in front.
    """

    temperatures_k: Floats
    sizes: tuple[int, ...]
    means_k: list[Floats]

    def resample(self, rng: np.random.Generator, replicas: int) -> OrderData:
        """Resample sequences with replacement within each temperature: (r, s, n) for each."""
        draws = [np.moveaxis(m[:, rng.integers(m.shape[1], size=(replicas, m.shape[1]))], 1, 0) for m in self.means_k]
        return OrderData(self.temperatures_k, self.sizes, draws)

    def flow(self, doubling: int) -> Floats:
        """Return log2 of the flow slope from size `doubling - 1` to `doubling` at each temperature, (..., k)."""
        slopes = [flow_slope(m[..., doubling - 1, :], m[..., doubling, :]) for m in self.means_k]
        return np.asarray(np.log2(np.maximum(np.stack(slopes, axis=-1), 1e-3)))


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
    draws = data.resample(rng, replicas)
    # The plateau is already extrapolated in N and noisy at small sizes; the test for fading order uses the flow.
    estimators = (
        ("flow of the tag fraction", _flow_edge, _drift_without_transition(data, last)),
        ("plateau of its variance", _plateau_edge, 0.0),
    )
    edges = []
    for name, edge, fade in estimators:
        at_size = {data.sizes[i]: float(edge(data, i)) for i in steps}
        edges.append(estimate_edge(name, at_size, np.stack([edge(draws, i) for i in steps], axis=1), fade))
    return edges[0], edges[1]


def _flow_edge(data: OrderData, size: int) -> Floats:
    slope, offset = _flow_line(data, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        temperature = np.where(slope > 0, -slope / offset, np.nan)
    inside = (temperature > data.temperatures_k.min()) & (temperature < data.temperatures_k.max())
    return np.where(inside, temperature, np.nan)


def _flow_line(data: OrderData, size: int) -> tuple[Floats, Floats]:
    """Fit the flow as a line in beta on the disordered side, down to the first ordered temperature: slope, offset.

    NaN unless some temperature is ordered and three can be used.
    """
    order = np.argsort(1 / data.temperatures_k)
    beta_k, flow_k = (1 / data.temperatures_k)[order], data.flow(size)[..., order]
    is_ordered = flow_k > -_ORDERED_MARGIN
    earlier: NDArray[np.int64] = np.cumsum(is_ordered, axis=-1) - is_ordered
    use = ((earlier == 0) & (flow_k > _FLOW_FLOOR)).astype(np.float64)
    count = use.sum(-1)
    usable = is_ordered.any(-1) & (count >= 3)
    count = np.maximum(count, 1.0)
    middle_beta, middle_flow = (use * beta_k).sum(-1) / count, (use * flow_k).sum(-1) / count
    x = use * (beta_k - middle_beta[..., None])
    slope = np.where(usable, (x * flow_k).sum(-1) / np.where(usable, (x * x).sum(-1), 1.0), np.nan)
    return slope, middle_flow - slope * middle_beta


def _drift_without_transition(data: OrderData, size: int) -> float:
    """Return the step in T per doubling for a chain with finite memory: its flow falls by a quarter per doubling."""
    slope, offset = (float(part) for part in _flow_line(data, size))
    return 0.25 * slope / offset**2 if slope > 0 else 0.0


def _plateau_edge(data: OrderData, size: int) -> Floats:
    step = int(np.log2(_SIZE_RATIO))
    used = [size - 2 * step, size - step, size]
    triples = np.stack([m[..., used, :].var(axis=-1, ddof=1) for m in data.means_k], axis=-2)
    variance_k = np.where(triples[..., -1] > 1e-12, extrapolate_plateau(triples), 0.0)
    rows = variance_k.reshape(-1, variance_k.shape[-1])
    crossings = [estimate_zero_crossing(data.temperatures_k, row) for row in rows]
    return np.array(crossings).reshape(variance_k.shape[:-1])
