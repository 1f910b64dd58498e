r"""Finite-size test of a characteristic temperature at sizes N/4, N/2 and N: a transition, or an effect that fades.

Without a transition, order that spans a text is broken by rare excitations and cannot survive many more doublings: its
characteristic temperature falls by a known step at each. With a transition it stays or rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE_LEVEL = 0.95
"""Coverage of the intervals."""

STEADY_SHARE = 0.1
"""An edge holds as the text grows if its drift is known to be less than this share of its temperature."""

MIN_FOUND_SHARE = 0.8
"""Share of bootstrap replicas that must show an edge; the others carry no information on its position."""


@dataclass(frozen=True)
class EdgeEstimate:
    """The edge found by one estimator: temperature and interval at the largest size, and values at smaller sizes."""

    name: str
    temperature: float | None
    interval: tuple[float, float] | None
    by_size: dict[int, float]
    supported: bool
    reason: str


def estimate_edge(name: str, at_size_s: dict[int, float], replicas_bs: Floats, fade: float = 0.0) -> EdgeEstimate:
    """Estimate an edge from its temperature at growing sizes and bootstrap replicas of it, (b, s); NaN is "not found".

    The interval is the bootstrap interval at the largest size, extended by the drift of the last doubling: the next
    doubling may move the edge as far again. `fade` is the decrease per doubling expected without a transition; the
    edge is supported if the drift excludes half of it.
    """
    sizes, temperatures = list(at_size_s), np.array(list(at_size_s.values()))
    by_size = {n: t for n, t in at_size_s.items() if np.isfinite(t)}
    found_b = np.isfinite(replicas_bs).all(1)
    if len(by_size) < len(sizes) or found_b.mean() < MIN_FOUND_SHARE:
        share = f"in {1 - found_b.mean():.0%} of resamples" if len(by_size) == len(sizes) else "at every size"
        return EdgeEstimate(name, None, None, by_size, False, f"not found {share}")
    replicas = replicas_bs[found_b]
    low, high = np.quantile(replicas[:, -1], [0.5 - CONFIDENCE_LEVEL / 2, 0.5 + CONFIDENCE_LEVEL / 2])
    step = temperatures[-1] - temperatures[-2]
    interval = (float(min(low, low + step)), float(max(high, high + step)))
    drift = np.quantile(replicas[:, -1] - replicas[:, 0], [0.5 - CONFIDENCE_LEVEL / 2, 0.5 + CONFIDENCE_LEVEL / 2])
    doublings = np.log2(sizes[-1] / sizes[0])
    supported = bool(fade == 0 or drift[0] > -0.5 * fade * doublings)
    reason = _describe_drift(at_size_s, drift) if supported else "falls as the text grows, as without a transition"
    return EdgeEstimate(name, float(temperatures[-1]), interval, by_size, supported, reason)


def _describe_drift(at_size_s: dict[int, float], drift: Floats) -> str:
    """Say if the edge holds, rises or falls as the text grows, from the interval of its drift; or that it is not known.

    It holds only if the whole interval is small and has both signs: an interval that is wide shows nothing.
    """
    temperatures = ", ".join(f"{t:.2f}" for t in at_size_s.values())
    place = f"{temperatures} at {', '.join(map(str, at_size_s))} tokens"
    if drift[0] > 0 or drift[1] < 0:
        return f"{'rises' if drift[0] > 0 else 'falls'} as the text grows: {place}"
    if np.abs(drift).max() <= STEADY_SHARE * list(at_size_s.values())[-1]:
        return "holds as the text grows"
    return f"too few texts to tell if it holds as the text grows: {place}"
