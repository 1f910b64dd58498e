"""A window of fixed size."""

from __future__ import annotations

import numpy as np

from heatbath.decode.windows.base import Floats, Window, up_to
from heatbath.decode.windows.spectrum import Band, Spectrum
from heatbath.errors import BadInput


def top_k(k: int) -> Window:
    """The k states of lowest energy, and every tie with the last of them: the band [0, E_(k) - E_min].

    Raises BadInput for k < 1. Source: Fan, Lewis and Dauphin 2018, arXiv:1805.04833.
    """
    if k < 1:
        raise BadInput(f"top_k keeps {k} states: give at least 1.")

    def band(seen: Spectrum, uniform: Floats | None) -> Band:
        if k >= seen.states:
            return up_to(seen, np.inf)
        return Band(np.full(seen.betas.shape, -np.inf), seen.kth(k))

    return Window(f"top_k={k}", band)
