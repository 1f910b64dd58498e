r"""Windows as cuts in energy: the states of a row between two energies are kept, all others become +inf.

The order is fixed: fields add to the energies, then the temperature is applied, then the window truncates the tempered
distribution. Libraries that truncate before the temperature keep a different set for windows that use probabilities.
The band depends on the row's energies, its beta and at most one random number. At T = 0 a window that uses
probabilities sees only the ground states. beta = 0 is the limit of small beta: weights are equal, the order is kept.

One rule holds for borders in all windows:

1. *Ties.* States of equal energy are kept or removed together. Ties at a border are all kept, so a top-k window may
   keep more than k. For `typical`, states of equal distance from the mean energy are ties.
2. *Rounding.* A state or a cumulative mass that differs from the border by no more than rounding has reached it. An
   energy is known to $\epsilon_E|E|$, so a border at height h above the ground has the tolerance
   $\epsilon_E(|E_0|+h)$, plus $\epsilon_wT$ where it is a probability or $\epsilon_wh$ where it is a multiple of the
   spread. A share p of the mass or entropy has the tolerance $\min(p,1-p)\,(\epsilon_w+\beta\epsilon_E(|E_0|+U-E_0))$.
   $\epsilon_E$ is $2^{-22}$ and $\epsilon_w$ $10^{-6}$ for float32, $2^{-50}$ and $10^{-12}$ for float64, so that an
   exact border that is kept in float64 is kept in float32. float16 and bfloat16 energies are taken as the numbers that
   they are, with the tolerance of float32. `top_k` compares energies alone and needs no tolerance.
3. *Gauge.* A constant added to all energies of a row changes nothing, up to the rounding of the energies themselves.
4. *Never empty.* At least one state of every row is kept, and the kept mass is that of the states that are kept. Only
   `typical` and `exclude_top_choices` may remove the ground states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows.row_statistics import Band, RowStatistics, build_row_statistics
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
BandFunction = Callable[[RowStatistics, Floats | None], Band]
DrawUniform = Callable[[], Floats]


@dataclass(frozen=True, repr=False)
class Window:
    """A truncation: `band(statistics, uniform)` returns the energies to keep.

    `is_random` states that the band needs one uniform number per row.
    """

    label: str
    band: BandFunction
    is_random: bool = False

    def __repr__(self) -> str:
        return f"Window({self.label!r})"

    def __call__(self, energies: Any, betas: Any, uniform: Floats | None = None) -> Any:
        """Energies (B, V) with +inf outside the window, in the library and type of `energies`."""
        return _apply_window(self, energies, betas, uniform, compute_mass=False).energies


@dataclass(frozen=True)
class WindowResult:
    """Energies (B, V) with +inf outside the windows, and the probability that was kept, (B,)."""

    energies: Any
    kept_mass: Floats


def apply_window(window: Window, energies: Any, betas: Any, uniform: Floats | None = None) -> WindowResult:
    """Apply one window to `energies` (B, V) at `betas` and compute the probability it keeps.

    `uniform` (B,) in [0, 1) is needed only by a random window. Raises `BadInput` where it is missing or a row has no
    state, `NotANumber` for a NaN.
    """
    return _apply_window(window, energies, betas, uniform, compute_mass=True)


def apply_windows(
    windows: Sequence[Window], energies: Any, betas: Any, draw_uniform: DrawUniform | None = None
) -> WindowResult:
    """Apply windows in sequence, each to the result of the one before; kept masses multiply.

    `draw_uniform()` returns the next uniform numbers (B,) and is called once for each random window, never otherwise.
    """
    mass = np.ones(energies.shape[:-1])
    for window in windows:
        result = apply_window(window, energies, betas, _draw_uniform(window, draw_uniform))
        energies, mass = result.energies, mass * result.kept_mass
    return WindowResult(energies, mass)


def mask_energies(windows: Sequence[Window], energies: Any, betas: Any, draw_uniform: DrawUniform | None = None) -> Any:
    """Return the energies of `apply_windows` without computing the kept mass."""
    for window in windows:
        energies = window(energies, betas, _draw_uniform(window, draw_uniform))
    return energies


def _draw_uniform(window: Window, draw_uniform: DrawUniform | None) -> Floats | None:
    return draw_uniform() if window.is_random and draw_uniform is not None else None


def _apply_window(
    window: Window, energies: Any, betas: Any, uniform: Floats | None, *, compute_mass: bool
) -> WindowResult:
    statistics = build_row_statistics(energies, betas)
    if window.is_random and (uniform is None or np.shape(uniform) != statistics.betas.shape):
        raise BadInput(f"the window {window.label} is random: pass one uniform number per row, got {uniform!r:.40}.")
    band = window.band(statistics, uniform)
    mass = np.minimum(statistics.band_mass(band), 1.0) if compute_mass else np.ones(statistics.rows.num_rows)
    return WindowResult(statistics.apply_band(band), mass)


def band_up_to(statistics: RowStatistics, height: Any) -> Band:
    """Return the band from the ground to `height` above it, (B,), with the tolerance for rounding; 0: ground only."""
    heights = np.broadcast_to(np.asarray(height, np.float64), statistics.betas.shape)
    top = statistics.ground + statistics.add_tolerance(heights, heights)
    return Band(np.full(statistics.betas.shape, -np.inf), top)


def band_above(statistics: RowStatistics, log_weight: Any) -> Band:
    r"""Return the band of the states of weight $e^{-\beta(E-E_0)}$ at least $e^x$, x (B,), and the ground states."""
    top = statistics.ground + statistics.probability_height(log_weight)
    return Band(np.full(statistics.betas.shape, -np.inf), top)
