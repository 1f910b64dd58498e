"""Windows, the truncations of a distribution: top-k, top-p, min-p and others. `apply_windows` applies several.

A new window is one new file here that builds a `Window` and ends with `SPEC = Spec("name", "window", build, "example")`
(`heatbath.energy.spec`); see `top_k.py`. The registry then finds it for Python, the command line and the server.
"""

from heatbath.decode.windows.base import (
    Window,
    WindowResult,
    apply_window,
    apply_windows,
    band_above,
    band_up_to,
    mask_energies,
)
from heatbath.decode.windows.mirostat_windows import max_surprisal, zipf_top_k
from heatbath.decode.windows.row_statistics import Band, RowStatistics
from heatbath.decode.windows.threshold import epsilon, eta, exclude_top_choices, min_p, p_less, p_less_norm, top_n_sigma
from heatbath.decode.windows.top_k import top_k
from heatbath.decode.windows.top_p import top_h, top_p, typical

__all__ = [
    "Band",
    "RowStatistics",
    "Window",
    "WindowResult",
    "apply_window",
    "apply_windows",
    "band_above",
    "band_up_to",
    "epsilon",
    "eta",
    "exclude_top_choices",
    "mask_energies",
    "max_surprisal",
    "min_p",
    "p_less",
    "p_less_norm",
    "top_h",
    "top_k",
    "top_n_sigma",
    "top_p",
    "typical",
    "zipf_top_k",
]
