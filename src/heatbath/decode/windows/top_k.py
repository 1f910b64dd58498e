"""The top-k window."""

from __future__ import annotations

import numpy as np

from heatbath.decode.windows.base import Floats, Window, band_up_to
from heatbath.decode.windows.row_statistics import Band, RowStatistics
from heatbath.energy.spec import LENGTH, Spec
from heatbath.errors import BadInput


def top_k(k: int) -> Window:
    """Keep the k states of lowest energy and all ties with the last of them: the band [0, E_(k) - E_min].

    Raises `BadInput` for k < 1. Source: Fan, Lewis and Dauphin 2018, arXiv:1805.04833.
    """
    if isinstance(k, bool) or k != int(k):
        raise BadInput(f"top_k is {k!r:.40}: give a whole number of at least 1.")
    if k < 1:
        raise BadInput(f"`top_k` must be at least 1, got {k}.", param="top_k")

    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        if k >= statistics.num_states:
            return band_up_to(statistics, np.inf)
        return Band(np.full(statistics.betas.shape, -np.inf), statistics.kth_lowest_energy(k))

    return Window(f"top_k={k}", band)


SPEC = Spec("top_k", "window", top_k, "40", order=10, takes_context=False, ranges={"k": LENGTH})
