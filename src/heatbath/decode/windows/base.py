r"""Windows as cuts in energy: the states of a row between two energies are kept, all others become +inf.

The order is fixed: fields add to the energies, then the temperature is applied, then the window truncates the tempered
distribution. Libraries that truncate before the temperature keep a different set for windows that use probabilities.
The band depends on the row's energies, its beta and at most one random number, so states of equal energy are kept or
removed together: ties at a border are all kept, and a top-k window may keep more than k. At T = 0 a window that uses
probabilities sees only the ground states. beta = 0 is the limit of small beta: weights are equal, the order is kept.
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


def height_limit(log_weight: Floats, betas: Floats) -> Floats:
    r"""Return the largest height of a state of weight at least $e^{x}$: $-x/\beta$, or 0 for x > 0, (B,), nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        height = -np.asarray(log_weight) / betas
    height = np.where(betas == 0, np.inf, np.where(np.isinf(betas), 0.0, height))
    return np.where(np.asarray(log_weight) > 0, 0.0, height)


def band_up_to(statistics: RowStatistics, height: Any, kept_mass: Floats | None = None) -> Band:
    """Return the band from the ground to `height` above it, (B,)."""
    return Band(np.full(statistics.betas.shape, -np.inf), statistics.ground + height, kept_mass)
