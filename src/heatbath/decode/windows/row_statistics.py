"""What a window asks of the energies: their edges, ranks, sums and cumulative weights, each found when first asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import reductions
from heatbath.ensemble.row_layout import EnergyRows, as_rows
from heatbath.ensemble.state import validate_betas

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    """Energies from `low` to `high` stay, (B,) each, nats, in the gauge they came in.

    `kept_mass` is the probability that stays, (B,), where finding the band gave it; None where it did not.
    """

    low: Floats
    high: Floats
    kept_mass: Floats | None = None


@dataclass(frozen=True)
class RowStatistics:
    """The energies of a batch (B, V) at inverse temperatures (B,). Every row is an ensemble: see `spectrum`."""

    rows: EnergyRows
    betas: Floats

    @property
    def num_states(self) -> int:
        """V."""
        return self.rows.num_states

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
        """Number of present states and standard deviation of their energies, every state alike, (B,) each."""
        count, deviation = self._backend.count_and_std(self.rows, self.ground)
        return count, deviation

    def kth_lowest_energy(self, k: int | Ints) -> Floats:
        """The k-th lowest energy for one k or k (B,), ties counted, (B,); +inf with fewer present."""
        ranks = np.broadcast_to(np.asarray(k, np.int64), self.betas.shape).copy()
        return np.asarray(self._backend.kth_lowest_energy(self.rows, ranks))

    def lowest_energies(self, k: int) -> Floats:
        """The k lowest energies in order, ties counted, (B, k); +inf with fewer present."""
        return np.asarray(self._backend.lowest_energies(self.rows, k))

    def highest_energy_within(self, limit: Floats) -> Floats:
        """The highest energy of a present state that is no more than `limit`, (B,)."""
        return np.asarray(self._backend.highest_energy_within(self.rows, limit))

    def find_share_band(self, rule: str, share: float) -> Band:
        """States by energy until their "mass" or "entropy" comes to `share`, or by |E - U| their mass ("typical")."""
        low, high, mass = self._backend.find_share_band(self.rows, self._energy_range, self.betas, rule, share).T
        return Band(low, high, mass)

    def apply_band(self, band: Band) -> Any:
        """The energies with +inf outside the band, in their library, type and shape."""
        return self._backend.apply_band(self.rows, band.low, band.high)

    def band_mass(self, band: Band) -> Floats:
        """The probability of the band, (B,)."""
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
    """The spectrum of `energies` (B, V) at `betas`. Raises as `ensemble.state` does for what is no ensemble."""
    ensembles = as_rows(energies)
    seen = RowStatistics(ensembles, validate_betas(ensembles.broadcast(betas, "beta")))
    seen.ground  # noqa: B018 - bad rows are refused before a window sees them
    return seen
