"""Weighted answers that grow together: the state of sequential Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.base import Batch, Floats, Ints
from heatbath.decode.potential_scorer import PotentialScorer
from heatbath.decode.sequences import Bools, TokenBuffer, WeightedSamples
from heatbath.estimate.bridge import combine_replicates
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.population_diagnostics import independence_acceptance, weighted_r_hat
from heatbath.estimate.resample import ess, genealogical_ess, genealogical_variance


@dataclass(frozen=True)
class SMCState:
    """N = R x P answers in R replicates of P particles, slot by slot.

    Attributes:
        sheet: the answers.
        batch: those that are `open` (A,), as rows of one session.
        log_weight: since the last resampling, (N,), nats.
        log_z: what resamplings have taken out of the weights, (R,).
        logprob: log p_T of each, (N,).
        energy: its potentials, (N,).
        founders: the first ancestor of each, (N,), numbered through all replicates.
        uneven: which replicates are resampled before anything else, (R,).
        exponent: what p_T is raised to at present.
        resampled: how often each replicate was, (R,).
        spent: tokens drawn.
        first_row: the number of slot 0 among all rows of a job.
        value: the slot drawn by weight once all have ended.
    """

    sheet: TokenBuffer
    batch: Batch
    open: Ints
    scorer: PotentialScorer
    log_weight: Floats
    log_z: Floats
    logprob: Floats
    energy: Floats
    founders: Ints
    resampled: Ints
    first_row: int
    uneven: Bools
    exponent: float = 0.0
    spent: int = 0
    value: int = 0

    @property
    def slots(self) -> int:
        return len(self.log_weight)

    @property
    def streams(self) -> int:
        return self.slots

    @property
    def done(self) -> bool:
        return not len(self.open)

    @property
    def groups(self) -> Ints:
        """The slots of each replicate, (R, P)."""
        return np.arange(self.slots).reshape(len(self.log_z), -1)

    @property
    def living(self) -> Bools:
        """Which replicates have a particle that is not forbidden, (R,)."""
        return np.asarray(np.isfinite(self.log_weight[self.groups].max(1)))

    @property
    def proper(self) -> Floats:
        """Log-weights whose exponentials have mean Z, (N,): what resampling took is put back."""
        return self.log_weight + np.repeat(self.log_z, self.groups.shape[1])

    @property
    def share(self) -> Floats:
        """Weights that sum to one, (N,)."""
        return np.asarray(np.exp(self.proper - logsumexp(self.proper)))

    def partition(self) -> Estimate:
        """log Z with its standard error: from the replicates, or from the lines of descent of a single one.

        The latter has a law for multinomial resampling at fixed times alone; elsewhere it is a guide.
        """
        logs = logsumexp(self.log_weight[self.groups], axis=1) - np.log(self.groups.shape[1]) + self.log_z
        if len(logs) > 1 or self.slots == 1:
            return combine_replicates(logs)
        variance = genealogical_variance(self.log_weight, self.founders, int(self.resampled[0]))
        stderr = float(np.sqrt(variance)) if variance >= 0 else float("nan")
        return Estimate(float(logs[0]), stderr, genealogical_ess(self.log_weight, self.founders))

    def samples(self) -> WeightedSamples:
        """All particles with their weights; the value is drawn by weight."""
        weights, alive = self.proper, self.groups[self.living]
        figures = {
            "weight_ess": ess(weights),
            "lines": float(len(np.unique(self.founders))),
            "resamplings": float(self.resampled.mean()),
            "acceptance": independence_acceptance(weights),
            "r_hat": weighted_r_hat(self.logprob[alive], self.log_weight[alive]),
        }
        return WeightedSamples(
            answers=self.sheet.answers(),
            slots=np.arange(self.slots),
            finish=self.sheet.finish(),
            log_weight=weights,
            logprob=self.logprob,
            value=self.value,
            log_z=self.partition(),
            ess=genealogical_ess(weights, self.founders),
            tokens_spent=self.spent,
            diagnostics=figures,
        )
