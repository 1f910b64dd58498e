"""Statistics of the energies of each row, computed on first use: range, order statistics, sums, weight quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows.rounding import height_tolerance, relative_errors
from heatbath.ensemble import reductions
from heatbath.ensemble.row_layout import EnergyRows, as_rows
from heatbath.ensemble.state import validate_betas

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    """The energies to keep, from `low` to `high`, (B,) each, nats, in the gauge of the energies.

    `kept_mass` is the probability that is kept, (B,), where it was computed with the band, else None.
    """

    low: Floats
    high: Floats
    kept_mass: Floats | None = None


@dataclass(frozen=True)
class RowStatistics:
    """The energies of a batch (B, V) at inverse temperatures (B,). Use `build_row_statistics`, which validates rows."""

    rows: EnergyRows
    betas: Floats

    @property
    def num_states(self) -> int:
        """The size V of the vocabulary."""
        return self.rows.num_states

    @property
    def width(self) -> int:
        """The bytes of an energy."""
        return int(self.rows.words.itemsize)

    @cached_property
    def ground(self) -> Floats:
        """The lowest energy, (B,), nats."""
        return self._energy_range[0]

    @cached_property
    def sums(self) -> Floats:
        r"""$Z$, $\sum wd$, $\sum wd^2$, $\sum w^2$ with $w=e^{-\beta d}$, d the height above the ground, (4, B)."""
        return np.asarray(reductions.sums(self.rows, self.betas[:, None])[1:, 0])

    @cached_property
    def count_and_std(self) -> tuple[Floats, Floats]:
        """Number of present states and standard deviation of their energies, unweighted, (B,) each."""
        count, deviation = self._backend.count_and_std(self.rows, self.ground)
        return count, deviation

    def add_tolerance(self, height: Floats, unit: Floats) -> Floats:
        """Return the height of a border with its tolerance for rounding (`rounding.height_tolerance`), (B,), nats."""
        return np.asarray(height + height_tolerance(self.width, self.ground, height, unit))

    def probability_height(self, log_weight: Any) -> Floats:
        r"""Return the largest height of a state of weight at least $e^{x}$: $-x/\beta$ with its tolerance, (B,), nats.

        0, the height of the ground states, where no state has this weight. At beta = 0 all weights are equal.
        """
        x = np.broadcast_to(np.asarray(log_weight, np.float64), self.betas.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            height, unit = np.maximum(-x / self.betas, 0.0), 1 / self.betas
        height = np.where(np.isinf(self.betas), 0.0, height)
        hot = np.where(x > relative_errors(self.width)[0], 0.0, np.inf)
        return np.where(self.betas == 0, hot, self.add_tolerance(height, unit))

    def kth_lowest_energy(self, k: int | Ints) -> Floats:
        """Return the k-th lowest energy for one k or k (B,), ties counted, (B,); +inf with fewer present states."""
        ranks = np.broadcast_to(np.asarray(k, np.int64), self.betas.shape).copy()
        return np.asarray(self._backend.kth_lowest_energy(self.rows, ranks))

    def lowest_energies(self, k: int) -> Floats:
        """Return the k lowest energies in ascending order, ties counted, (B, k); +inf with fewer present states."""
        return np.asarray(self._backend.lowest_energies(self.rows, k))

    def highest_energy_within(self, limit: Floats) -> Floats:
        """Return the highest energy of a present state that is at most `limit`, (B,)."""
        return np.asarray(self._backend.highest_energy_within(self.rows, limit))

    def find_share_band(self, rule: str, share: float) -> Band:
        """Return the band that holds a share of the row.

        States are added in the order of energy until their "mass" or "entropy" reaches `share`, or in the order of
        |E - U| until their mass does ("typical").
        """
        low, high, mass = self._backend.find_share_band(self.rows, self._energy_range, self.betas, rule, share).T
        # The sum over the states nearest to U leaves out ties by rounding, which the band keeps.
        return Band(low, high, None if rule == "typical" else mass)

    def apply_band(self, band: Band) -> Any:
        """Return the energies with +inf outside the band, in their own library, type and shape."""
        return self._backend.apply_band(self.rows, band.low, band.high)

    def band_mass(self, band: Band) -> Floats:
        """Return the probability of the band, (B,)."""
        if band.kept_mass is not None:
            return band.kept_mass
        return np.asarray(self._backend.band_mass(self.rows, self._energy_range, self.betas, band.low, band.high))

    @cached_property
    def _energy_range(self) -> tuple[Floats, Floats]:
        status, low, high = self._backend.find_energy_range(self.rows)
        self.rows.raise_for_status(status)
        return low, high

    @property
    def _backend(self) -> Any:
        name = "torch_ops" if self.rows.is_on_device else "cpu"
        return import_module(f"heatbath.decode.windows.{name}")


def build_row_statistics(energies: Any, betas: Any) -> RowStatistics:
    """Build the statistics of `energies` (B, V) at `betas`. Raises as `ensemble.state` does for invalid rows."""
    rows = as_rows(energies)
    statistics = RowStatistics(rows, validate_betas(rows.broadcast(betas, "beta")))
    statistics.ground  # noqa: B018 - raises for invalid rows before a window reads them
    return statistics
