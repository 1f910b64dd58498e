r"""The Metropolis-Hastings kernel on sequences: cut a sequence, draw a new continuation, accept or reject it.

The state space is that of sequences padded to the greatest length with an absorbing end, so a sequence that has ended
can get longer again (Karan and Du 2025, arXiv:2510.14901, algorithm 1). The cut is uniform over the tokens of a
sequence x, which leaves the factor |x|/|x'| in the acceptance; cuts in the padding, which change nothing, are never
drawn. With proposal distribution q and log-weight $w(x) = \log \pi(x) - \log q(x)$, accepting with probability
$\min(1, \frac{|x|}{|x'|} e^{\lambda (w(x') - w(x))})$ leaves $q^{1-\lambda} \pi^\lambda$ invariant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.rng import Random
from heatbath.decode.rollout import Rollout, RolloutSampler, ScoredSequences
from heatbath.decode.sequences import Bools, SamplerState, SequenceStep
from heatbath.decode.target import Target
from heatbath.errors import BadInput
from heatbath.models.base import Session


@dataclass(frozen=True)
class MetropolisChains:
    """N chains of sequences, and the proposals that are being drawn for them.

    Attributes:
        lambdas: lambda of each chain, (N,).
        max_length: the greatest length at present.
        current: the current sequences.
        proposal_rollout: the proposals.
        current_slots: slots of the current sequences, (N,): c, or N + c after chain c has accepted its proposal.
        accepted_mask: chains that accepted their last proposal, (N,).
        is_forced: whether the proposals are accepted unconditionally.
        tokens_spent: number of drawn tokens.
    """

    rollout_sampler: RolloutSampler
    lambdas: Floats
    max_length: int
    current: ScoredSequences
    proposal_rollout: Rollout
    current_slots: Ints
    accepted_mask: Bools
    is_forced: bool = False
    tokens_spent: int = 0

    @classmethod
    def start(cls, task: Task, target: Target, lambdas: Floats, max_length: int | None = None) -> MetropolisChains:
        """Build chains with empty sequences; their first proposals must be forced."""
        count, length = len(lambdas), task.max_tokens
        return cls(
            rollout_sampler=RolloutSampler.from_task(task, target),
            lambdas=lambdas,
            max_length=max_length or length,
            current=(empty := ScoredSequences.empty(count, length)),
            proposal_rollout=Rollout(empty, np.zeros(count, np.int64), np.empty(0, np.int64), None),
            current_slots=np.arange(count),
            accepted_mask=np.ones(count, bool),
        )

    @property
    def num_chains(self) -> int:
        return len(self.lambdas)

    @property
    def allowed_mask(self) -> Bools:
        """Chains whose current sequence the target allows, (N,)."""
        return ~np.isneginf(self.current.log_weight)

    @property
    def is_idle(self) -> bool:
        """True when no proposal is being drawn."""
        return self.proposal_rollout.is_finished

    @property
    def pending(self) -> Session | None:
        """The session whose energies the proposals need, None when no proposal is being drawn."""
        return self.proposal_rollout.session

    @property
    def has_sequences(self) -> bool:
        """True when every chain has a sequence."""
        return bool(self.current.buffer.lengths.all())


@dataclass(frozen=True)
class ChainState(SamplerState):
    """The state of a sampler that runs N chains in 2 N slots: their sequences and their proposals."""

    chains: MetropolisChains

    @property
    def num_slots(self) -> int:
        return 2 * self.chains.num_chains

    @property
    def num_streams(self) -> int:
        return self.chains.num_chains


def advance_chains(
    chains: MetropolisChains, rng: Random, energies: Any, cuts: Ints | None = None
) -> tuple[MetropolisChains, SequenceStep]:
    """Draw one more token for every open proposal, from the energies of the pending session.

    When the chains are idle, start proposals instead, at `cuts` (N,), which are drawn unless given; this needs no
    energies. When the last proposal ends, every chain accepts or rejects; proposals at given cuts are always accepted.
    """
    if chains.is_idle:
        return _start_proposals(chains, rng, cuts)
    slots = chains.proposal_rollout.open_slots
    rollout, step = chains.rollout_sampler.extend_rollout(chains.proposal_rollout, rng, energies)
    chains = replace(chains, proposal_rollout=rollout, tokens_spent=chains.tokens_spent + len(slots))
    return _resolve_proposals(chains, rng), SequenceStep(slots + chains.num_chains, step)


def _start_proposals(chains: MetropolisChains, rng: Random, cuts: Ints | None) -> tuple[MetropolisChains, SequenceStep]:
    chains = replace(chains, is_forced=cuts is not None)
    cuts = _draw_cuts(chains, rng) if cuts is None else cuts
    sources = np.concatenate([chains.current_slots, chains.current_slots])
    lengths = np.concatenate([chains.current.buffer.lengths, cuts])
    prefixes = chains.current.copy_prefixes(np.arange(chains.num_chains), cuts)
    rollout = chains.rollout_sampler.start_rollout(prefixes, np.full(chains.num_chains, chains.max_length))
    chains = replace(chains, proposal_rollout=rollout, current_slots=np.arange(chains.num_chains))
    return _resolve_proposals(chains, rng), SequenceStep.copies(sources, lengths)


def copy_chains(chains: MetropolisChains, sources: Ints) -> MetropolisChains:
    """Return idle chains in which chain c has the sequence of chain `sources[c]`."""
    return replace(chains, current=chains.current.copy_prefixes(sources), current_slots=chains.current_slots[sources])


def select_chain(chains: MetropolisChains, candidates: Ints, rng: Random) -> int:
    """Draw one of the `candidates` that the target allows, uniformly. Raises `BadInput` where there is none."""
    allowed = chains.allowed_mask[candidates]
    if not allowed.any():
        names = chains.rollout_sampler.target.constraint_names
        raise BadInput(
            f"no chain has found a sequence that {names} allow: increase `chains` or `sweeps`, or relax the constraint."
        )
    return rng.choose_index(allowed / allowed.sum())


def _draw_cuts(chains: MetropolisChains, rng: Random) -> Ints:
    lengths = chains.current.buffer.lengths.tolist()
    return np.asarray([rng.choose_index(np.full(n, 1 / n)) for n in lengths], np.int64)


def _resolve_proposals(chains: MetropolisChains, rng: Random) -> MetropolisChains:
    """Accept or reject the proposal of every chain, once all proposals have ended."""
    if not chains.proposal_rollout.is_finished:
        return chains
    accepted = np.ones(chains.num_chains, bool) if chains.is_forced else _draw_acceptances(chains, rng)
    return replace(
        chains,
        current=chains.current.merge_where(accepted, chains.proposal_rollout.sequences),
        current_slots=np.arange(chains.num_chains) + chains.num_chains * accepted,
        accepted_mask=accepted,
    )


def _draw_acceptances(chains: MetropolisChains, rng: Random) -> Bools:
    current, proposed = chains.current, chains.proposal_rollout.sequences
    with np.errstate(invalid="ignore"):
        gain = np.where(chains.lambdas == 0, 0.0, chains.lambdas * (proposed.log_weight - current.log_weight))
    log_ratio = np.log(current.buffer.lengths) - np.log(proposed.buffer.lengths) + gain
    # The ratio is NaN where both sequences are forbidden: the chain then rejects.
    probability = np.exp(np.minimum(np.where(np.isnan(log_ratio), -np.inf, log_ratio), 0.0))
    return np.asarray([bool(rng.choose_index(np.array([1 - p, p]))) for p in probability.tolist()])
