r"""Parallel tempering of answers (Swendsen and Wang 1986; Geyer 1991): chains on a ladder exchange what they hold.

Replica k keeps the law $q^{1-\lambda_k}\pi^{\lambda_k}$ by Metropolis-Hastings; neighbours exchange their answers with
probability $\min(1, e^{(\lambda_k - \lambda_j)(w_j - w_k)})$. While it warms up the ladder is spaced anew by
thermodynamic length, so that neighbours exchange about equally often everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.anneal import build_ladder, with_model_proposal
from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.metropolis_kernel import MetropolisChains, advance, select, swap
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
from heatbath.energy.spec import Spec
from heatbath.errors import Unreliable
from heatbath.estimate.bridge import bar
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.ladder_spacing import build_ladder as spaced
from heatbath.estimate.mcmc_diagnostics import jackknife, mixing_diagnostics
from heatbath.models.base import Session


@dataclass(frozen=True)
class TemperingState:
    """K x C answers, slot k C + c in the batch; after each kept sweep the gains, (S, K, C), and log p_T.

    `exchanges` (K - 1, 2) counts the exchanges tried and made between neighbours.
    """

    chains: MetropolisChains
    ladder: Floats
    num_finished_sweeps: int
    sweeps: int
    log_weight_history: Floats
    logprob_history: Floats
    exchange_counts: Ints
    acceptance_rates: tuple[float, ...] = ()
    selected_index: int = 0

    @property
    def num_slots(self) -> int:
        return 2 * self.chains.num_chains

    @property
    def num_streams(self) -> int:
        return self.chains.num_chains

    @property
    def is_finished(self) -> bool:
        return self.chains.is_idle and self.num_finished_sweeps == self.sweeps

    @property
    def target_chains(self) -> Ints:
        """The chains at the target, (C,)."""
        count = self.chains.num_chains // len(self.ladder)
        return np.arange(self.chains.num_chains - count, self.chains.num_chains)

    def samples(self) -> WeightedSamples:
        """The answers of the chains at the target; figures from the sweeps after the warm-up."""
        now, cold = self.chains.current, self.target_chains
        kept = self.logprob_history[:, -1].T
        tried, made = self.exchange_counts.T
        rate = made / np.maximum(tried, 1)
        agreement, effective = mixing_diagnostics(kept)
        figures = {
            "acceptance": float(np.mean(self.acceptance_rates)) if self.acceptance_rates else float("nan"),
            "r_hat": agreement,
            **{f"exchange/{k}": float(rate[k]) for k in range(len(rate))},
            **{f"ladder/{k}": float(value) for k, value in enumerate(self.ladder)},
        }
        return WeightedSamples(
            sequences=now.buffer.to_sequences(cold),
            slots=self.chains.current_slots[cold],
            finish_reasons=now.buffer.finish_reasons(cold),
            log_weight=np.where(self.chains.allowed_mask[cold], 0.0, -np.inf),
            logprob=now.total_logprob[cold],
            selected_index=self.selected_index,
            log_z=self.estimate_log_z(),
            ess=effective,
            tokens_spent=self.chains.tokens_spent,
            diagnostics=figures,
        )

    def estimate_log_z(self) -> Estimate | None:
        """log Z of the target: Bennett's ratios between neighbours, added; its error is the jackknife's over chains.

        None where a replica holds a forbidden answer or neighbours do not overlap.
        """
        if not self.log_weight_history.size or not np.isfinite(self.log_weight_history[:, 1:]).all():
            return None
        try:
            parts = _estimate_log_ratios(self.log_weight_history, self.ladder)
            stderr = jackknife(
                lambda kept: sum(part.value for part in _estimate_log_ratios(kept, self.ladder)),
                self.log_weight_history,
            )
        except Unreliable:
            return None
        return Estimate(sum(part.value for part in parts), stderr, min(part.ess for part in parts))


@dataclass(frozen=True)
class Tempering(SequenceSampler[TemperingState]):
    """`chains` chains at each of the values of lambda in `ladder`, for `sweeps` sweeps, a share `burn` as warm-up.

    A `ladder` given as a number is spaced by thermodynamic length during the warm-up; one given as values stays.
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
        past = np.empty((0, len(ladder), self.chains))
        return TemperingState(chains, ladder, 0, self.sweeps, past, past, np.zeros((len(ladder) - 1, 2), np.int64))

    def pending(self, state: TemperingState) -> Session | None:
        return state.chains.pending

    def max_rows(self, prompts: int) -> int:
        return self.chains * len(build_ladder(self.ladder))

    def step(self, rng: Random, state: TemperingState, energies: Any) -> tuple[TemperingState, SequenceStep]:
        started = state.chains.has_sequences
        cuts = None if started else np.zeros(state.chains.num_chains, np.int64)
        chains, move = advance(state.chains, rng, energies, cuts)
        state = replace(state, chains=chains)
        if not chains.is_idle or chains.is_forced:
            return state, move
        return self._finish_sweep(rng, state), move

    def _finish_sweep(self, rng: Random, state: TemperingState) -> TemperingState:
        """After a sweep: exchange, note where the replicas stand, and space the ladder anew at the warm-up's end."""
        state = _exchange_neighbors(rng, state)
        now, shape = state.chains.current, (1, len(state.ladder), self.chains)
        rate = float(np.mean(state.chains.accepted_mask))
        state = replace(
            state,
            num_finished_sweeps=state.num_finished_sweeps + 1,
            log_weight_history=np.concatenate([state.log_weight_history, now.log_weight.reshape(shape)]),
            logprob_history=np.concatenate([state.logprob_history, now.total_logprob.reshape(shape)]),
            acceptance_rates=(*state.acceptance_rates, rate),
        )
        if state.num_finished_sweeps == int(self.burn * self.sweeps):
            state = self._finish_warmup(state)
        if state.is_finished:
            return replace(state, selected_index=select(state.chains, state.target_chains, rng))
        return state

    def _finish_warmup(self, state: TemperingState) -> TemperingState:
        """The past is forgotten; the ladder follows the variances it has shown."""
        ladder = state.ladder
        if isinstance(self.ladder, int) and len(ladder) > 2 and len(state.log_weight_history) > 1:
            met = state.log_weight_history.transpose(1, 0, 2).reshape(len(ladder), -1)
            # A rung that has met nothing but forbidden answers has nothing to say of its variance.
            spread = [np.var(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in met]
            # A rung where nothing varied has no length: a small one keeps it apart from its neighbours.
            ladder = spaced(ladder, np.maximum(np.asarray(spread, np.float64), 1e-6), rungs=len(ladder))
        lam = np.repeat(ladder, self.chains)
        return replace(
            state,
            ladder=ladder,
            chains=replace(state.chains, lambdas=lam),
            log_weight_history=state.log_weight_history[:0],
            logprob_history=state.logprob_history[:0],
            exchange_counts=np.zeros_like(state.exchange_counts),
            acceptance_rates=(),
        )


def _exchange_neighbors(rng: Random, state: TemperingState) -> TemperingState:
    """Neighbours exchange answers: pairs from an even rung in even sweeps, from an odd one in odd sweeps."""
    each = len(state.target_chains)
    weight = state.chains.current.log_weight
    sources, exchanges = np.arange(state.chains.num_chains), state.exchange_counts.copy()
    for k in range(state.num_finished_sweeps % 2, len(state.ladder) - 1, 2):
        for low in range(k * each, (k + 1) * each):
            high = low + each
            p = _exchange_probability((state.ladder[k + 1] - state.ladder[k]), weight[low], weight[high])
            swapped = rng.choose_index(np.array([1 - p, p]))
            exchanges[k] += (1, swapped)
            if swapped:
                sources[[low, high]] = high, low
    return replace(state, chains=swap(state.chains, sources), exchange_counts=exchanges)


def _exchange_probability(step: float, hotter: float, colder: float) -> float:
    """Probability that the answer of the hotter replica goes up by `step`; one that is forbidden never does."""
    if hotter == -np.inf:
        return 0.0
    return 1.0 if colder == -np.inf else float(np.exp(min(step * (hotter - colder), 0.0)))


def _estimate_log_ratios(log_weight_history: Floats, ladder: Floats) -> list[Estimate]:
    steps = np.diff(ladder)
    return [
        bar(h * log_weight_history[:, k].ravel(), h * log_weight_history[:, k + 1].ravel())
        for k, h in enumerate(steps.tolist())
    ]


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
)
