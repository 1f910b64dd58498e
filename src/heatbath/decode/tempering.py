r"""Parallel tempering of sequences (Swendsen and Wang 1986; Geyer 1991): chains on a ladder exchange their sequences.

Replica k samples $q^{1-\lambda_k}\pi^{\lambda_k}$ by Metropolis-Hastings; neighbours exchange their sequences with
probability $\min(1, e^{(\lambda_k - \lambda_j)(w_j - w_k)})$. At the end of the warm-up the ladder is spaced by
thermodynamic length, so that all neighbours exchange about equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.anneal import RUNGS, build_ladder, with_model_proposal
from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.metropolis_kernel import ChainState, MetropolisChains, advance_chains, copy_chains, select_chain
from heatbath.decode.rng import Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.sequences import (
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
    validate_burn,
)
from heatbath.decode.target import Target, build_default_target, split_target_options
from heatbath.energy.spec import POWER, ROWS, SHARE, SWEEPS, Spec
from heatbath.errors import Unreliable
from heatbath.estimate import ladder_spacing
from heatbath.estimate.bridge import bar
from heatbath.estimate.convergence import (
    ChainConvergence,
    assess_chains,
    autocorrelated_bridge_error,
    find_forbidden_chain,
)
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.mcmc_diagnostics import jackknife
from heatbath.models.base import Session


@dataclass(frozen=True)
class TemperingState(ChainState):
    """K x C chains, slot k C + c in the batch, with their history over the sweeps since the warm-up.

    Attributes:
        ladder: values of lambda, (K,).
        log_weight_history: log-weights, (S, K, C).
        logprob_history: log p_T, (S, K, C).
        exchange_counts: attempted and accepted exchanges between neighbours, (K - 1, 2).
    """

    ladder: Floats
    num_finished_sweeps: int
    sweeps: int
    log_weight_history: Floats
    logprob_history: Floats
    exchange_counts: Ints
    acceptance_rates: tuple[float, ...] = ()
    selected_index: int = 0

    @property
    def is_finished(self) -> bool:
        return self.chains.is_idle and self.num_finished_sweeps == self.sweeps

    @property
    def target_chains(self) -> Ints:
        """Indices of the chains at the target, (C,)."""
        count = self.chains.num_chains // len(self.ladder)
        return np.arange(self.chains.num_chains - count, self.chains.num_chains)

    def samples(self) -> WeightedSamples:
        """Return the sequences of the chains at the target; diagnostics are over the sweeps after the warm-up."""
        current, rows = self.chains.current, self.target_chains
        attempts, exchanges = self.exchange_counts.T
        rate = exchanges / np.maximum(attempts, 1)
        convergence = self._assess_convergence()
        figures = {
            "acceptance": float(np.mean(self.acceptance_rates)) if self.acceptance_rates else float("nan"),
            "r_hat": convergence.r_hat,
            **{f"exchange/{k}": float(rate[k]) for k in range(len(rate))},
            **{f"ladder/{k}": float(value) for k, value in enumerate(self.ladder)},
        }
        return WeightedSamples(
            sequences=current.buffer.to_sequences(rows),
            slots=self.chains.current_slots[rows],
            finish_reasons=current.buffer.finish_reasons(rows),
            log_weight=np.where(self.chains.allowed_mask[rows], 0.0, -np.inf),
            logprob=current.total_logprob[rows],
            selected_index=self.selected_index,
            log_z=self.estimate_log_z(),
            ess=convergence.ess,
            tokens_spent=self.chains.tokens_spent,
            diagnostics=figures,
            unreliable_reason=convergence.reason,
        )

    def _assess_convergence(self) -> ChainConvergence:
        """Assess the chains at the target by log p_T, and those of every rung by the log-weights."""
        accepted = np.repeat(self.acceptance_rates, self.chains.num_chains) == 1
        weights = [rung.T for rung in self.log_weight_history.transpose(1, 0, 2) if np.isfinite(rung).all()]
        convergence = assess_chains([self.logprob_history[:, -1].T, *weights], accepted)
        return replace(convergence, reason=find_forbidden_chain(self.log_weight_history[:, 1:]) or convergence.reason)

    def estimate_log_z(self) -> Estimate | None:
        """Estimate log Z of the target as the sum of Bennett's ratios between neighbours.

        The error is the larger of a jackknife over chains and of the asymptotic one with the autocorrelation of the
        chains, which takes the neighbours as independent. None where a replica visited a forbidden sequence or
        neighbours do not overlap.
        """
        if not self.log_weight_history.size or not np.isfinite(self.log_weight_history[:, 1:]).all():
            return None
        try:
            parts = _estimate_log_ratios(self.log_weight_history, self.ladder)
            stderr = jackknife(
                lambda history: sum(part.value for part in _estimate_log_ratios(history, self.ladder)),
                self.log_weight_history,
            )
        except Unreliable:
            return None
        errors = stderr, _autocorrelated_error(self.log_weight_history, self.ladder, parts)
        return Estimate(sum(part.value for part in parts), float(np.fmax(*errors)), min(part.ess for part in parts))


@dataclass(frozen=True)
class Tempering(SequenceSampler[TemperingState]):
    """Run `chains` chains at each value of lambda in `ladder` for `sweeps` sweeps, a share `burn` of them as warm-up.

    A `ladder` given as a number is spaced by thermodynamic length after the warm-up; values are not changed.
    """

    target: Target = field(default_factory=lambda: Target(power=4.0))
    chains: int = 4
    ladder: int | Sequence[float] = 4
    sweeps: int = 16
    burn: float = 0.5

    def __post_init__(self) -> None:
        validate_at_least(self.chains, 1, "chains")
        validate_at_least(self.sweeps, 1, "sweeps")
        validate_burn(self.burn)
        build_ladder(self.ladder)

    def init(self, task: Task) -> TemperingState:
        require_single_prompt(task, "tempering")
        ladder = build_ladder(self.ladder)
        chains = MetropolisChains.start(task, with_model_proposal(self.target), np.repeat(ladder, self.chains))
        history = np.empty((0, len(ladder), self.chains))
        counts = np.zeros((len(ladder) - 1, 2), np.int64)
        return TemperingState(chains, ladder, 0, self.sweeps, history, history, counts)

    def pending(self, state: TemperingState) -> Session | None:
        return state.chains.pending

    def max_rows(self, prompts: int) -> int:
        return self.chains * len(build_ladder(self.ladder))

    def max_tokens_drawn(self, prompts: int, max_tokens: int) -> int:
        return self.max_rows(prompts) * max_tokens * (1 + self.sweeps)

    def step(self, rng: Random, state: TemperingState, energies: Any) -> tuple[TemperingState, SequenceStep]:
        cuts = None if state.chains.has_sequences else np.zeros(state.chains.num_chains, np.int64)
        chains, change = advance_chains(state.chains, rng, energies, cuts)
        state = replace(state, chains=chains)
        if not chains.is_idle or chains.is_forced:
            return state, change
        return self._finish_sweep(rng, state), change

    def _finish_sweep(self, rng: Random, state: TemperingState) -> TemperingState:
        """Exchange sequences after a sweep, append to the history, and space the ladder at the end of the warm-up."""
        state = _exchange_neighbors(rng, state)
        current, shape = state.chains.current, (1, len(state.ladder), self.chains)
        rate = float(np.mean(state.chains.accepted_mask))
        state = replace(
            state,
            num_finished_sweeps=state.num_finished_sweeps + 1,
            log_weight_history=np.concatenate([state.log_weight_history, current.log_weight.reshape(shape)]),
            logprob_history=np.concatenate([state.logprob_history, current.total_logprob.reshape(shape)]),
            acceptance_rates=(*state.acceptance_rates, rate),
        )
        if state.num_finished_sweeps == int(self.burn * self.sweeps):
            state = self._finish_warmup(state)
        if state.is_finished:
            return replace(state, selected_index=select_chain(state.chains, state.target_chains, rng))
        return state

    def _finish_warmup(self, state: TemperingState) -> TemperingState:
        """Discard the history, and space the ladder by the variances in it."""
        ladder = state.ladder
        if isinstance(self.ladder, int) and len(ladder) > 2 and len(state.log_weight_history) > 1:
            history = state.log_weight_history.transpose(1, 0, 2).reshape(len(ladder), -1)
            # A rung that visited only forbidden sequences has no estimate of its variance.
            variances = [np.var(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in history]
            # Without a lower limit, rungs whose variance is 0 would coincide.
            floored = np.maximum(np.asarray(variances, np.float64), 1e-6)
            ladder = ladder_spacing.build_ladder(ladder, floored, rungs=len(ladder))
        return replace(
            state,
            ladder=ladder,
            chains=replace(state.chains, lambdas=np.repeat(ladder, self.chains)),
            log_weight_history=state.log_weight_history[:0],
            logprob_history=state.logprob_history[:0],
            exchange_counts=np.zeros_like(state.exchange_counts),
            acceptance_rates=(),
        )


def _exchange_neighbors(rng: Random, state: TemperingState) -> TemperingState:
    """Exchange sequences between neighbours: pairs from even rungs in even sweeps, from odd rungs in odd sweeps."""
    chains_per_rung = len(state.target_chains)
    weight = state.chains.current.log_weight
    sources, exchanges = np.arange(state.chains.num_chains), state.exchange_counts.copy()
    for k in range(state.num_finished_sweeps % 2, len(state.ladder) - 1, 2):
        for low in range(k * chains_per_rung, (k + 1) * chains_per_rung):
            high = low + chains_per_rung
            p = _exchange_probability((state.ladder[k + 1] - state.ladder[k]), weight[low], weight[high])
            is_exchanged = rng.choose_index(np.array([1 - p, p]))
            exchanges[k] += (1, is_exchanged)
            if is_exchanged:
                sources[[low, high]] = high, low
    return replace(state, chains=copy_chains(state.chains, sources), exchange_counts=exchanges)


def _exchange_probability(step: float, hotter: float, colder: float) -> float:
    """Return the probability of an exchange over a difference `step` in lambda; 0 if the hotter one is forbidden."""
    if hotter == -np.inf:
        return 0.0
    return 1.0 if colder == -np.inf else float(np.exp(min(step * (hotter - colder), 0.0)))


def _estimate_log_ratios(log_weight_history: Floats, ladder: Floats) -> list[Estimate]:
    steps = np.diff(ladder)
    return [
        bar(h * log_weight_history[:, k].ravel(), h * log_weight_history[:, k + 1].ravel())
        for k, h in enumerate(steps.tolist())
    ]


def _autocorrelated_error(log_weight_history: Floats, ladder: Floats, parts: Sequence[Estimate]) -> float:
    """Return the standard error of the sum of Bennett's ratios; NaN where there are too few sweeps."""
    variance = 0.0
    for k, (step, part) in enumerate(zip(np.diff(ladder), parts, strict=True)):
        forward, reverse = step * log_weight_history[:, k].T, step * log_weight_history[:, k + 1].T
        variance += autocorrelated_bridge_error(part, forward, reverse) ** 2
    return float(np.sqrt(variance))


def _build_tempering(arguments: SamplerArguments, **options: Any) -> Tempering:
    of_target, own = split_target_options(options)
    return Tempering(build_default_target(arguments, **of_target), **own)


SPEC = Spec(
    "tempering",
    "sampler",
    _build_tempering,
    options=("alpha", "proposal", "chains", "ladder", "sweeps", "burn"),
    order=90,
    uses_potentials=True,
    ranges={"alpha": POWER, "chains": ROWS, "ladder": RUNGS, "sweeps": SWEEPS, "burn": SHARE},
)
