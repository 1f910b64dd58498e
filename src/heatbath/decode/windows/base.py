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

from heatbath.decode.windows.spectrum import Band, Spectrum, spectrum
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
BandOf = Callable[[Spectrum, Floats | None], Band]
Draw = Callable[[], Floats]


@dataclass(frozen=True)
class Window:
    """`band(spectrum, uniform)` finds what stays. `random` says that it needs one uniform number a row."""

    label: str
    band: BandOf
    random: bool = False

    def __call__(self, energies: Any, betas: Any, uniform: Floats | None = None) -> Any:
        """Energies (B, V) with +inf outside the window, in the library and type of `energies`."""
        return _cut(self, energies, betas, uniform, weigh=False).energies


@dataclass(frozen=True)
class Cut:
    """Energies (B, V) with +inf outside the windows, and the probability that they left, (B,)."""

    energies: Any
    kept_mass: Floats


def cut(window: Window, energies: Any, betas: Any, uniform: Floats | None = None) -> Cut:
    """What a window leaves of `energies` (B, V) at `betas`, and the probability it keeps.

    `uniform` (B,) in [0, 1) is needed by a random window alone. Raises BadInput where it is missing or rows hold no
    state, NotANumber for a NaN.
    """
    return _cut(window, energies, betas, uniform, weigh=True)


def cut_all(windows: Sequence[Window], energies: Any, betas: Any, draw: Draw | None = None) -> Cut:
    """One window upon another, each cutting what the one before has left; kept masses multiply.

    `draw()` gives the next uniforms (B,) and is called once for each random window, and for no other.
    """
    mass = np.ones(energies.shape[:-1])
    for window in windows:
        left = cut(window, energies, betas, _uniform(window, draw))
        energies, mass = left.energies, mass * left.kept_mass
    return Cut(energies, mass)


def applied(windows: Sequence[Window], energies: Any, betas: Any, draw: Draw | None = None) -> Any:
    """The energies of `cut_all`, without the work of weighing what is kept."""
    for window in windows:
        energies = window(energies, betas, _uniform(window, draw))
    return energies


def _uniform(window: Window, draw: Draw | None) -> Floats | None:
    return draw() if window.random and draw is not None else None


def _cut(window: Window, energies: Any, betas: Any, uniform: Floats | None, *, weigh: bool) -> Cut:
    seen = spectrum(energies, betas)
    if window.random and (uniform is None or np.shape(uniform) != seen.betas.shape):
        raise BadInput(f"the window {window.label} is random: give one uniform number a row.")
    band = window.band(seen, uniform)
    mass = np.minimum(seen.mass(band), 1.0) if weigh else np.ones(seen.rows.count)
    return Cut(seen.cut(band), mass)


def reach(log_weight: Floats, betas: Floats) -> Floats:
    r"""How far above the ground a state may lie to weigh at least $e^{x}$: $-x/\beta$, or 0 for x > 0, (B,), nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        height = -np.asarray(log_weight) / betas
    height = np.where(betas == 0, np.inf, np.where(np.isinf(betas), 0.0, height))
    return np.where(np.asarray(log_weight) > 0, 0.0, height)


def up_to(seen: Spectrum, height: Any, kept_mass: Floats | None = None) -> Band:
    """The band from the ground to `height` above it, (B,)."""
    return Band(np.full(seen.betas.shape, -np.inf), seen.ground + height, kept_mass)
