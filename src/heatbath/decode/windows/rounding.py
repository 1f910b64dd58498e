r"""Tolerances for the rounding of energies and weights: the numbers of the rule in `heatbath.decode.windows.base`.

Two energies of a row are known to their rounding, $\epsilon_E|E|$, and so is their difference; cumulative weights have
a relative error $\epsilon_w$ of their own. Both are larger for energies of 4 bytes and fewer than for 8 bytes. A
constant added to all energies changes a tolerance only as far as it changes the rounding of the energies themselves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WEIGHT_ROUNDING_32, WEIGHT_ROUNDING_64 = 1e-6, 1e-12
"""Relative error of weights and their sums."""
ENERGY_ROUNDING_32, ENERGY_ROUNDING_64 = 2.0**-22, 2.0**-50
"""Relative error of a difference of two energies, with a margin for the arithmetic that gave them."""
LARGEST_ROUNDING = 0.5
"""Limit on the relative error of weights, for energies so large that their rounding exceeds the temperature."""


def relative_errors(width: int) -> tuple[float, float]:
    """Return the relative errors of weights and of energies of `width` bytes."""
    if width == 8:
        return WEIGHT_ROUNDING_64, ENERGY_ROUNDING_64
    return WEIGHT_ROUNDING_32, ENERGY_ROUNDING_32


def height_tolerance(width: int, ground: Floats, height: Floats, unit: Floats) -> Floats:
    r"""Return the tolerance of a border at `height` above the ground, (B,), nats; 0 for a border at the ground.

    $\epsilon_E(|E_0|+h)+\epsilon_w u$, with `unit` u the scale on which the height was computed: T for the height of a
    given probability, the height itself for a multiple of the spread.
    """
    weight_error, energy_error = relative_errors(width)
    with np.errstate(over="ignore", invalid="ignore"):
        tolerance = energy_error * (np.abs(ground) + height) + weight_error * unit
    return np.where((height > 0) & np.isfinite(height), tolerance, 0.0)


def share_tolerance(width: int, ground: Floats, centre: Floats, betas: Floats) -> Floats:
    r"""Return the relative error of a cumulative weight or entropy, $\epsilon_w+\beta\epsilon_E(|E_0|+U-E_0)$, (B,)."""
    weight_error, energy_error = relative_errors(width)
    rates = np.where(np.isinf(betas), 0.0, betas)
    return np.minimum(weight_error + rates * energy_error * (np.abs(ground) + centre), LARGEST_ROUNDING)


def distance_tolerance(width: int, ground: Floats, centre: Floats, distance: Floats) -> Floats:
    r"""Return the difference below which two distances from the mean energy are ties, (B,), nats."""
    weight_error, energy_error = relative_errors(width)
    return np.asarray(weight_error * centre + energy_error * (np.abs(ground) + centre + distance))
