"""Windows that keep a share of the probability (top-p, typical) or of the entropy (top-H)."""

from __future__ import annotations

import numpy as np

from heatbath.decode.windows.base import BandFunction, Floats, Window, band_up_to
from heatbath.decode.windows.row_statistics import Band, RowStatistics
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput


def top_p(p: float) -> Window:
    """Keep the fewest states of lowest energy whose probability reaches p, and ties: a band from 0.

    A mass within rounding of p has reached it (the rule in `heatbath.decode.windows.base`). Raises `BadInput` unless
    0 < p <= 1. Source: Holtzman et al. 2020, arXiv:1904.09751.
    """
    if not 0 < p <= 1:
        raise BadInput(f"`top_p` must be in (0, 1], got {p}.", param="top_p")
    return Window(f"top_p={p:g}", _build_share_band("mass", p))


def typical(mass: float) -> Window:
    r"""Keep the states whose surprisal is nearest to the entropy until their probability reaches `mass`, and ties.

    Since $-\ln p-S=\beta(E-U)$, this is a band around the mean energy U; the ground states need not be in it. Raises
    `BadInput` unless 0 < mass <= 1. Source: Meister et al. 2022, arXiv:2202.00666.
    """
    if not 0 < mass <= 1:
        raise BadInput(f"`typical` must be in (0, 1], got {mass}.", param="typical")
    return Window(f"typical={mass:g}", _build_share_band("typical", mass))


def top_h(h: float) -> Window:
    """Keep states of lowest energy while their renormalised entropy is at most h S, and ties; always the first.

    The entropy of the lowest n states grows with n, so this is a band from 0. Raises `BadInput` unless 0 < h <= 1.
    Source: Potraghloo et al. 2025, arXiv:2509.02510.
    """
    if not 0 < h <= 1:
        raise BadInput(f"`top_h` must be in (0, 1], got {h}.", param="top_h")
    return Window(f"top_h={h:g}", _build_share_band("entropy", h))


def _build_share_band(rule: str, share: float) -> BandFunction:
    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        if share == 1:
            return band_up_to(statistics, np.inf)
        return statistics.find_share_band(rule, share)

    return band


SPECS = (
    Spec("top_p", "window", top_p, "0.9", order=20, takes_context=False),
    Spec("typical", "window", typical, "0.95", order=40, takes_context=False, aliases=("typical_p",)),
    Spec("top_h", "window", top_h, "0.4", order=100, takes_context=False),
)
