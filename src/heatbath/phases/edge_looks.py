"""Looks at the edges while a sweep runs: which temperatures the next texts are drawn at, and when to stop.

A sweep that is asked for edges of some width aims most of its texts at the edges that are still wider, and stops at the
first look at which none is. Such a stop prefers looks at which an interval happens to be narrow, so that 95 % intervals
cover in about 88 % of sweeps that stop early. Intervals of the width that was asked for cover in 92 to 97 % (Chow &
Robbins 1965), and these are reported: `widen_edge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.models.base import Model
from heatbath.phases.curves import pool_samples
from heatbath.phases.edges import Edge, find_edges
from heatbath.phases.prefix_sums import SweepSamples
from heatbath.phases.text_samples import decode_pieces

Floats = NDArray[np.float64]

MIN_BATCHES = 2
"""Batches before the first look."""
_SPACING = 0.025
"""Ratio between neighbouring temperatures that texts are aimed at, less one: fewer temperatures share more texts."""
_SHARE_AIMED = 0.75
"""Share of a batch that is aimed at edges; the rest keeps the curves between them alive."""
_SMALLEST_REACH = 0.1
"""Smallest distance from an estimate within which texts are aimed at it, as a share of its temperature."""


def look_at_edges(model: Model, samples: SweepSamples, seed: int) -> tuple[Edge, Edge]:
    """Return the freeze and the melt edge of the samples so far, as the map of these samples will have them."""
    rng = np.random.default_rng([seed, len(samples)])
    pool = pool_samples(samples, np.unique(1 / samples.betas))
    return find_edges(pool, decode_pieces(model, samples), rng)


def is_narrow(edge: Edge, width: float) -> bool:
    """Return true if the edge was found, with an interval of at most `width`."""
    return edge.interval is not None and edge.interval[1] - edge.interval[0] <= width


def widen_edge(edge: Edge, width: float) -> Edge:
    """Return the edge with an interval of at least `width`, around the middle of its own."""
    if edge.interval is None or not is_narrow(edge, width):
        return edge
    middle = 0.5 * (edge.interval[0] + edge.interval[1])
    return replace(edge, interval=(middle - 0.5 * width, middle + 0.5 * width))


def aim_at_edges(edges: Sequence[Edge], thin: Floats, limits: tuple[float, float], width: float) -> Floats:
    """Return the temperatures of the next batch, aimed at the estimators of edges that are not narrow yet.

    Args:
        edges: the edges of the last look.
        thin: temperatures with the fewest effective texts, one for each text of the batch.
        limits: lowest and highest temperature of the sweep.
        width: the width asked for.
    """
    wide = [one for edge in edges if not is_narrow(edge, width) for one in edge.estimators if one.by_size]
    if not wide:
        return thin
    each = max(1, int(_SHARE_AIMED * len(thin)) // len(wide))
    aimed = np.concatenate([_spread_around(one, each) for one in wide])[: len(thin)]
    aimed = _round_to_ladder(aimed.clip(*limits), *limits)
    rest = thin[np.linspace(0, len(thin) - 1, len(thin) - len(aimed)).round().astype(int)]
    return np.sort(np.concatenate([aimed, rest]))


def _spread_around(estimate: EdgeEstimate, count: int) -> Floats:
    """Return temperatures over the interval of an estimate and half of it again on both sides.

    An estimate without an interval was found in some resamples or sizes only: the reach is that of all its sizes.
    """
    known = list(estimate.by_size.values())
    center = known[-1] if estimate.temperature is None else estimate.temperature
    low, high = estimate.interval or (min(known), max(known))
    reach = max(1.5 * 0.5 * (high - low), _SMALLEST_REACH * center)
    return center + reach * np.linspace(-1, 1, count + 2)[1:-1]


def _round_to_ladder(temperatures: Floats, low: float, high: float) -> Floats:
    steps = max(1, round(np.log(high / low) / _SPACING))
    ladder = np.geomspace(low, high, steps + 1)
    return np.asarray(ladder[np.abs(np.log(temperatures[:, None] / ladder)).argmin(1)])
