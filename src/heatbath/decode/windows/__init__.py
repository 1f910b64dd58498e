"""Windows: which energies stay. `applied` and `cut_all` put one upon another."""

from heatbath.decode.windows.base import Cut, Window, applied, cut, cut_all, up_to
from heatbath.decode.windows.mass import top_h, top_p, typical
from heatbath.decode.windows.rank import top_k
from heatbath.decode.windows.spectrum import Band, Spectrum
from heatbath.decode.windows.surprise import surprise_at_most, zipf_surprise
from heatbath.decode.windows.threshold import (
    epsilon,
    eta,
    exclude_top_choices,
    min_p,
    p_less,
    p_less_norm,
    top_n_sigma,
)

__all__ = [
    "Band",
    "Cut",
    "Spectrum",
    "Window",
    "applied",
    "cut",
    "cut_all",
    "epsilon",
    "eta",
    "exclude_top_choices",
    "min_p",
    "p_less",
    "p_less_norm",
    "surprise_at_most",
    "top_h",
    "top_k",
    "top_n_sigma",
    "top_p",
    "typical",
    "up_to",
    "zipf_surprise",
]
