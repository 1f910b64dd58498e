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

    buffer: TokenBuffer
    batch: Batch
    open_slots: Ints
    scorer: PotentialScorer
    log_weight: Floats
    accumulated_log_z: Floats
    logprob: Floats
    energy: Floats
    root_ancestors: Ints
    resampling_counts: Ints
    first_row: int
    uneven: Bools
    current_power: float = 0.0
    tokens_spent: int = 0
    selected_index: int = 0

    @property
    def num_slots(self) -> int:
        return len(self.log_weight)

    @property
    def num_streams(self) -> int:
        return self.num_slots

    @property
    def is_finished(self) -> bool:
        return not len(self.open_slots)

    @property
    def replicate_slots(self) -> Ints:
        """The slots of each replicate, (R, P)."""
        return np.arange(self.num_slots).reshape(len(self.accumulated_log_z), -1)

    @property
    def alive_replicates(self) -> Bools:
        """Which replicates have a particle that is not forbidden, (R,)."""
        return np.asarray(np.isfinite(self.log_weight[self.replicate_slots].max(1)))

    @property
    def total_log_weight(self) -> Floats:
        """Log-weights whose exponentials have mean Z, (N,): what resampling took is put back."""
        return self.log_weight + np.repeat(self.accumulated_log_z, self.replicate_slots.shape[1])

    @property
    def normalized_weights(self) -> Floats:
        """Weights that sum to one, (N,)."""
        return np.asarray(np.exp(self.total_log_weight - logsumexp(self.total_log_weight)))

    def estimate_log_z(self) -> Estimate:
        """log Z with its standard error: from the replicates, or from the lines of descent of a single one.

        The latter has a law for multinomial resampling at fixed times alone; elsewhere it is a guide.
        """
        logs = (
            logsumexp(self.log_weight[self.replicate_slots], axis=1)
            - np.log(self.replicate_slots.shape[1])
            + self.accumulated_log_z
        )
        if len(logs) > 1 or self.num_slots == 1:
            return combine_replicates(logs)
        variance = genealogical_variance(self.log_weight, self.root_ancestors, int(self.resampling_counts[0]))
        stderr = float(np.sqrt(variance)) if variance >= 0 else float("nan")
        return Estimate(float(logs[0]), stderr, genealogical_ess(self.log_weight, self.root_ancestors))

    def samples(self) -> WeightedSamples:
        """All particles with their weights; the value is drawn by weight."""
        weights, alive = self.total_log_weight, self.replicate_slots[self.alive_replicates]
        figures = {
            "weight_ess": ess(weights),
            "lines": float(len(np.unique(self.root_ancestors))),
            "resamplings": float(self.resampling_counts.mean()),
            "acceptance": independence_acceptance(weights),
            "r_hat": weighted_r_hat(self.logprob[alive], self.log_weight[alive]),
        }
        return WeightedSamples(
            sequences=self.buffer.to_sequences(),
            slots=np.arange(self.num_slots),
            finish_reasons=self.buffer.finish_reasons(),
            log_weight=weights,
            logprob=self.logprob,
            selected_index=self.selected_index,
            log_z=self.estimate_log_z(),
            ess=genealogical_ess(weights, self.root_ancestors),
            tokens_spent=self.tokens_spent,
            diagnostics=figures,
        )
