r"""Metropolis-Hastings on whole answers: cut an answer, draw the rest anew, accept or keep.

The chain lives on answers padded to the greatest length with an absorbing end, so an answer that has ended can grow
again (Karan and Du 2025, arXiv:2510.14901, algorithm 1). The cut is uniform over the tokens an answer x really has,
which leaves the factor |x|/|x'| in the acceptance; a cut in the padding, which changes nothing, is never drawn.
With proposal law q and gain $w(x) = \log \pi(x) - \log q(x)$ the law $q^{1-\lambda} \pi^\lambda$ is kept by accepting
with probability $\min(1, \frac{|x|}{|x'|} e^{\lambda (w(x') - w(x))})$.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.rng import Random
from heatbath.decode.rollout import Rollout, RolloutSampler, ScoredSequences
from heatbath.decode.sequences import Bools, SequenceStep
from heatbath.decode.target import Target
from heatbath.errors import BadInput
from heatbath.models.base import Session


@dataclass(frozen=True)
class MetropolisChains:
    """N chains of answers, and a draft for each that is being drawn.

    `current` lies in the slots `home` (N,), which are those of the drafts, N + c, where one has been accepted. `lam`
    (N,) is lambda of each chain, `limit` the greatest length at present. `accepted` (N,) says what became of the last
    drafts, which were `forced` if taken as they were.
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
        """Chains without an answer: their first drafts are whole answers, to be forced."""
        count, length = len(lambdas), task.max_tokens
        none = ScoredSequences.empty(count, length)
        idle = Rollout(none, np.zeros(count, np.int64), np.empty(0, np.int64), None)
        home = np.arange(count)
        return cls(
            RolloutSampler.from_task(task, target),
            lambdas,
            max_length or length,
            none,
            idle,
            home,
            np.ones(count, bool),
        )

    @property
    def num_chains(self) -> int:
        return len(self.lambdas)

    @property
    def allowed_mask(self) -> Bools:
        """Which chains have an answer that the target allows, (N,)."""
        return ~np.isneginf(self.current.log_weight)

    @property
    def is_idle(self) -> bool:
        """Whether no draft is being drawn."""
        return self.proposal_rollout.is_finished

    @property
    def pending(self) -> Session | None:
        """The session whose energies the drafts need."""
        return self.proposal_rollout.session

    @property
    def has_sequences(self) -> bool:
        """Whether every chain has an answer."""
        return bool(self.current.buffer.lengths.all())


def advance(
    chains: MetropolisChains, rng: Random, energies: Any, cuts: Ints | None = None
) -> tuple[MetropolisChains, SequenceStep]:
    """One more token for every open draft, from the energies of the pending session.

    Where no draft is open, drafts are begun instead, at `cuts` (N,), which are drawn unless given; energies are not
    needed then. When the last draft ends, every chain accepts or keeps; drafts begun at given cuts are always accepted.
    """
    if chains.is_idle:
        return _begin(chains, rng, cuts)
    slots = chains.proposal_rollout.open_slots
    draft, step = chains.rollout_sampler.extend_rollout(chains.proposal_rollout, rng, energies)
    chains = replace(chains, proposal_rollout=draft, tokens_spent=chains.tokens_spent + len(slots))
    return _resolve_proposals(chains, rng), SequenceStep(slots + chains.num_chains, step)


def _begin(chains: MetropolisChains, rng: Random, cuts: Ints | None) -> tuple[MetropolisChains, SequenceStep]:
    chains = replace(chains, is_forced=cuts is not None)
    cuts = _draw_cuts(chains, rng) if cuts is None else cuts
    sources = np.concatenate([chains.current_slots, chains.current_slots])
    lengths = np.concatenate([chains.current.buffer.lengths, cuts])
    begun = chains.current.copy_prefixes(np.arange(chains.num_chains), cuts)
    draft = chains.rollout_sampler.start_rollout(begun, np.full(chains.num_chains, chains.max_length))
    chains = replace(chains, proposal_rollout=draft, current_slots=np.arange(chains.num_chains))
    return _resolve_proposals(chains, rng), SequenceStep.copies(sources, lengths)


def swap(chains: MetropolisChains, sources: Ints) -> MetropolisChains:
    """Settled chains with the answers of others: chain c goes on from that of `sources[c]`."""
    return replace(chains, current=chains.current.copy_prefixes(sources), current_slots=chains.current_slots[sources])


def select(chains: MetropolisChains, among: Ints, rng: Random) -> int:
    """One of the chains `among`, each that is allowed equally likely. Raises `BadInput` where none is."""
    allowed = chains.allowed_mask[among]
    if not allowed.any():
        raise BadInput(
            f"no chain has met an answer that is not forbidden by {chains.rollout_sampler.target.constraint_names}: ask for more chains "
            "or sweeps, or for less."
        )
    return rng.choose_index(allowed / allowed.sum())


def _draw_cuts(chains: MetropolisChains, rng: Random) -> Ints:
    lengths = chains.current.buffer.lengths.tolist()
    return np.asarray([rng.choose_index(np.full(n, 1 / n)) for n in lengths], np.int64)


def _resolve_proposals(chains: MetropolisChains, rng: Random) -> MetropolisChains:
    """Every chain takes its draft or keeps what it has, once all drafts have ended."""
    if not chains.proposal_rollout.is_finished:
        return chains
    accepted = np.ones(chains.num_chains, bool) if chains.is_forced else _draw_acceptances(chains, rng)
    home = np.arange(chains.num_chains) + chains.num_chains * accepted
    return replace(
        chains,
        current=chains.current.merge_where(accepted, chains.proposal_rollout.sequences),
        current_slots=home,
        accepted_mask=accepted,
    )


def _draw_acceptances(chains: MetropolisChains, rng: Random) -> Bools:
    now, new = chains.current, chains.proposal_rollout.sequences
    with np.errstate(invalid="ignore"):
        gain = np.where(chains.lambdas == 0, 0.0, chains.lambdas * (new.log_weight - now.log_weight))
    ratio = np.log(now.buffer.lengths) - np.log(new.buffer.lengths) + gain
    # Both forbidden gives NaN, and a chain stays where it is.
    chance = np.exp(np.minimum(np.where(np.isnan(ratio), -np.inf, ratio), 0.0))
    return np.asarray([bool(rng.choose_index(np.array([1 - p, p]))) for p in chance.tolist()])
