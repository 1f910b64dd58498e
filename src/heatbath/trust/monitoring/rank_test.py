r"""A test of whether confidences still come from the distribution of the calibration, by their ranks.

The rank of a new confidence among those of the calibration **and** all that came before it is uniform, and independent
of the ranks before it, as long as all are exchangeable: with finitely many calibration answers too, and however long
the test runs. (Ranks among the calibration answers alone are not: their distribution function is known to
\(1/\sqrt{n}\) only, and a long stream would find that out.) A drift is found while it is still a change of what was
seen; what has been so for long counts as usual.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatbath.trust.monitoring.martingales import NUM_RANK_BETS, BettingMixture, rank_factors

GRID = 1024
"""Cells in which confidences are counted; those of one cell are ties, which chance breaks."""


class RankTest:
    """A betting test on the ranks of confidences.

    Args:
        sample: confidences of answers of the calibration that neither chose nor fitted anything.
        seed: of the random numbers that break ties.
    """

    def __init__(self, sample: Sequence[float], *, seed: int = 0) -> None:
        self._counts = np.bincount(_find_cells(np.asarray(sample, np.float64)), minlength=GRID)
        self._rng = np.random.default_rng(seed)
        self.capital = BettingMixture(NUM_RANK_BETS)

    def add(self, confidence: float) -> None:
        """Bet on the rank of one more confidence."""
        self.capital.update(rank_factors(self.take_rank(confidence)))

    def take_rank(self, confidence: float) -> float:
        """Return the rank of a confidence in [0, 1], high for a high one, and count it among those that came before."""
        cell = int(_find_cells(np.array([confidence]))[0])
        below, ties, total = int(self._counts[:cell].sum()), int(self._counts[cell]), int(self._counts.sum())
        self._counts[cell] += 1
        return (below + float(self._rng.random()) * (ties + 1)) / (total + 1)


def _find_cells(confidence_n: np.ndarray) -> np.ndarray:
    return np.minimum((confidence_n * GRID).astype(np.int64), GRID - 1)
