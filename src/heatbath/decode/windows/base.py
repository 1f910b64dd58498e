r"""Windows are cuts in energy: the states of a row between two energies stay, all others become +inf.

The order is fixed. Fields add to the energies, the temperature makes a distribution of them, and the window cuts that
tempered distribution; other libraries differ, and a window that asks for probabilities then keeps another set. The
band depends on the row's energies, its beta and at most one random number, so that states of equal energy stay or go
together: ties at a border all stay, and a top-k window may keep more than k. At T = 0 a window that goes by
probability sees the ground states alone; beta = 0 is the limit of small beta: weights are equal, the order stays.
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


@dataclass(frozen=True)
class Window:
    """`band(spectrum, uniform)` finds what stays. `random` says that it needs one uniform number a row."""

    label: str
    band: BandFunction
    is_random: bool = False

    def __call__(self, energies: Any, betas: Any, uniform: Floats | None = None) -> Any:
        """Energies (B, V) with +inf outside the window, in the library and type of `energies`."""
        return _apply_window(self, energies, betas, uniform, compute_mass=False).energies


@dataclass(frozen=True)
class WindowResult:
    """Energies (B, V) with +inf outside the windows, and the probability that they left, (B,)."""

    energies: Any
    kept_mass: Floats


def apply_window(window: Window, energies: Any, betas: Any, uniform: Floats | None = None) -> WindowResult:
    """What a window leaves of `energies` (B, V) at `betas`, and the probability it keeps.

    `uniform` (B,) in [0, 1) is needed by a random window alone. Raises BadInput where it is missing or rows hold no
    state, NotANumber for a NaN.
    """
    return _apply_window(window, energies, betas, uniform, compute_mass=True)


def apply_windows(
    windows: Sequence[Window], energies: Any, betas: Any, draw_uniform: DrawUniform | None = None
) -> WindowResult:
    """One window upon another, each cutting what the one before has left; kept masses multiply.

    `draw()` gives the next uniforms (B,) and is called once for each random window, and for no other.
    """
    mass = np.ones(energies.shape[:-1])
    for window in windows:
        left = apply_window(window, energies, betas, _draw_uniform(window, draw_uniform))
        energies, mass = left.energies, mass * left.kept_mass
    return WindowResult(energies, mass)


def mask_energies(windows: Sequence[Window], energies: Any, betas: Any, draw_uniform: DrawUniform | None = None) -> Any:
    """The energies of `cut_all`, without the work of weighing what is kept."""
    for window in windows:
        energies = window(energies, betas, _draw_uniform(window, draw_uniform))
    return energies


def _draw_uniform(window: Window, draw_uniform: DrawUniform | None) -> Floats | None:
    return draw_uniform() if window.is_random and draw_uniform is not None else None


def _apply_window(
    window: Window, energies: Any, betas: Any, uniform: Floats | None, *, compute_mass: bool
) -> WindowResult:
    seen = build_row_statistics(energies, betas)
    if window.is_random and (uniform is None or np.shape(uniform) != seen.betas.shape):
        raise BadInput(f"the window {window.label} is random: give one uniform number a row.")
    band = window.band(seen, uniform)
    mass = np.minimum(seen.band_mass(band), 1.0) if compute_mass else np.ones(seen.rows.num_rows)
    return WindowResult(seen.apply_band(band), mass)


def height_limit(log_weight: Floats, betas: Floats) -> Floats:
    r"""How far above the ground a state may lie to weigh at least $e^{x}$: $-x/\beta$, or 0 for x > 0, (B,), nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        height = -np.asarray(log_weight) / betas
    height = np.where(betas == 0, np.inf, np.where(np.isinf(betas), 0.0, height))
    return np.where(np.asarray(log_weight) > 0, 0.0, height)


def band_up_to(statistics: RowStatistics, height: Any, kept_mass: Floats | None = None) -> Band:
    """The band from the ground to `height` above it, (B,)."""
    return Band(np.full(statistics.betas.shape, -np.inf), statistics.ground + height, kept_mass)
