"""The state of sequential Monte Carlo, with its diagnostics and its estimate of log Z."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.base import Floats, Ints
from heatbath.decode.potential_scorer import PotentialScorer
from heatbath.decode.sequences import BatchState, Bools, WeightedSamples
from heatbath.estimate.bridge import combine_replicates
from heatbath.estimate.convergence import find_population_fault
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.population_diagnostics import independence_acceptance, weighted_r_hat
from heatbath.estimate.resample import ess, genealogical_ess, genealogical_variance


@dataclass(frozen=True)
class SMCState(BatchState):
    """N = R x P sequences in R replicates of P particles, slot by slot.

    Attributes:
        log_weight: log-weights since the last resampling, (N,), nats.
        accumulated_log_z: log Z from the resamplings so far, (R,).
        logprob: log p_T of each sequence, (N,).
        energy: energy of the potentials, (N,).
        root_ancestors: the first ancestor of each, (N,), numbered through all replicates.
        resampling_counts: number of resamplings of each replicate, (R,).
        first_row: the number of slot 0 among all rows of a job.
        current_power: the power of p_T at present.
        tokens_spent: number of drawn tokens.
        selected_index: the slot drawn by weight once all sequences have ended.
        has_lineages: whether particles descend from independent draws, so that their genealogy gives an error.
    """

    scorer: PotentialScorer
    log_weight: Floats
    accumulated_log_z: Floats
    logprob: Floats
    energy: Floats
    root_ancestors: Ints
    resampling_counts: Ints
    first_row: int
    current_power: float = 0.0
    tokens_spent: int = 0
    selected_index: int = 0
    has_lineages: bool = True

    @property
    def replicate_slots(self) -> Ints:
        """Slots of each replicate, (R, P)."""
        return np.arange(self.num_slots).reshape(len(self.accumulated_log_z), -1)

    @property
    def alive_replicates(self) -> Bools:
        """Replicates with a particle that is not forbidden, (R,)."""
        return np.asarray(np.isfinite(self.log_weight[self.replicate_slots].max(1)))

    @property
    def total_log_weight(self) -> Floats:
        """Log-weights including `accumulated_log_z`, (N,): the mean of their exponentials estimates Z."""
        return self.log_weight + np.repeat(self.accumulated_log_z, self.replicate_slots.shape[1])

    @property
    def normalized_weights(self) -> Floats:
        """Weights that sum to one, (N,)."""
        return np.asarray(np.exp(self.total_log_weight - logsumexp(self.total_log_weight)))

    def estimate_log_z(self) -> Estimate:
        """Estimate log Z with its standard error, from the replicates or from the genealogy of a single one.

        The genealogical error is exact only for multinomial resampling at fixed times, otherwise approximate.
        """
        logs = (
            logsumexp(self.log_weight[self.replicate_slots], axis=1)
            - np.log(self.replicate_slots.shape[1])
            + self.accumulated_log_z
        )
        if len(logs) > 1 or self.num_slots == 1:
            return combine_replicates(logs)
        variance = genealogical_variance(self.log_weight, self.root_ancestors, int(self.resampling_counts[0]))
        stderr = float(np.sqrt(variance)) if variance >= 0 and self.has_lineages else float("nan")
        return Estimate(float(logs[0]), stderr, genealogical_ess(self.log_weight, self.root_ancestors))

    def samples(self) -> WeightedSamples:
        """Return all particles with their weights; the selected sequence is drawn by weight."""
        weights, alive = self.total_log_weight, self.replicate_slots[self.alive_replicates]
        figures = {
            "weight_ess": ess(weights),
            "lines": float(len(np.unique(self.root_ancestors))),
            "resamplings": float(self.resampling_counts.mean()),
            "acceptance": independence_acceptance(weights),
            "r_hat": weighted_r_hat(self.logprob[alive], self.log_weight[alive]),
        }
        log_z, size = self.estimate_log_z(), genealogical_ess(weights, self.root_ancestors)
        return WeightedSamples(
            sequences=self.buffer.to_sequences(),
            slots=np.arange(self.num_slots),
            finish_reasons=self.buffer.finish_reasons(),
            log_weight=weights,
            logprob=self.logprob,
            selected_index=self.selected_index,
            log_z=log_z,
            ess=size,
            tokens_spent=self.tokens_spent,
            diagnostics=figures,
            unreliable_reason=find_population_fault(log_z, size),
        )


def copy_parents(state: SMCState, parents: Ints) -> SMCState:
    """Return the state in which each slot is a copy of its parent (N,); the batch has yet to follow."""
    buffer = state.buffer.copy_prefixes(parents)
    return replace(
        state,
        buffer=buffer,
        open_slots=np.flatnonzero(~buffer.finished_mask),
        logprob=state.logprob[parents],
        energy=state.energy[parents],
        root_ancestors=state.root_ancestors[parents],
    )


def subtract_energy_change(log_weight: Floats, energy: Floats, before: Floats) -> Floats:
    """Return log-weights after the potentials changed from `before` to `energy`; -inf where `energy` is infinite."""
    with np.errstate(invalid="ignore"):
        increase = np.where(np.isinf(energy), np.inf, energy - before)
    return log_weight - increase
