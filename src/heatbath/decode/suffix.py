r"""Metropolis-Hastings on whole answers: cut an answer, draw the rest anew, accept or keep.

The chain lives on answers padded to the greatest length with an absorbing end, so an answer that has ended can grow
again (Karan and Du 2025, arXiv:2510.14901, algorithm 1). The cut is uniform over the tokens an answer x really has,
which leaves the factor |x|/|x'| in the acceptance; a cut in the padding, which changes nothing, is never drawn.
With proposal law q and gain $w(x) = \log \pi(x) - \log q(x)$ the law $q^{1-\lambda} \pi^\lambda$ is kept by accepting
with probability $\min(1, \frac{|x|}{|x'|} e^{\lambda (w(x') - w(x))})$.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heatbath.decode.answers import Bools, Move
from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.growth import Answer, Drawing, Growth
from heatbath.decode.seeds import Random
from heatbath.decode.target import Target
from heatbath.errors import BadInput


@dataclass(frozen=True)
class Chains:
    """N chains of answers, and a draft for each that is being drawn.

    `current` lies in the slots `home` (N,), which are those of the drafts, N + c, where one has been accepted. `lam`
    (N,) is lambda of each chain, `limit` the greatest length at present. `accepted` (N,) says what became of the last
    drafts, which were `forced` if taken as they were.
    """

    drawing: Drawing
    lam: Floats
    limit: int
    current: Answer
    draft: Growth
    home: Ints
    accepted: Bools
    forced: bool = False
    spent: int = 0

    @classmethod
    def begun(cls, task: Task, target: Target, lam: Floats, limit: int | None = None) -> Chains:
        """Chains without an answer: their first drafts are whole answers, to be forced."""
        count, length = len(lam), task.max_tokens
        none = Answer.empty(count, length)
        idle = Growth(none, np.zeros(count, np.int64), np.empty(0, np.int64), None)
        home = np.arange(count)
        return cls(Drawing.of(task, target), lam, limit or length, none, idle, home, np.ones(count, bool))

    @property
    def count(self) -> int:
        return len(self.lam)

    @property
    def allowed(self) -> Bools:
        """Which chains have an answer that the target allows, (N,)."""
        return ~np.isneginf(self.current.weight)

    @property
    def settled(self) -> bool:
        """Whether no draft is being drawn."""
        return self.draft.done

    @property
    def started(self) -> bool:
        """Whether every chain has an answer."""
        return bool(self.current.sheet.lengths.all())


def moved(chains: Chains, rng: Random, cuts: Ints | None = None) -> tuple[Chains, Move]:
    """One more token for every open draft; where none is, drafts are begun at `cuts` (N,), drawn unless given.

    When the last draft ends, every chain accepts or keeps. Drafts begun at given cuts are accepted as they are.
    """
    sources = lengths = None
    if chains.settled:
        chains = replace(chains, forced=cuts is not None)
        cuts = _cut(chains, rng) if cuts is None else cuts
        sources = np.concatenate([chains.home, chains.home])
        lengths = np.concatenate([chains.current.sheet.lengths, cuts])
        begun = chains.current.taken(np.arange(chains.count), cuts)
        draft = chains.drawing.begin(begun, np.full(chains.count, chains.limit))
        chains = replace(chains, draft=draft, home=np.arange(chains.count))
    slots = chains.draft.open
    draft, step = chains.drawing.grow(chains.draft, rng)
    chains = replace(chains, draft=draft, spent=chains.spent + len(slots))
    return (_decided(chains, rng) if draft.done else chains), Move(slots + chains.count, step, sources, lengths)


def exchanged(chains: Chains, sources: Ints) -> Chains:
    """Settled chains with the answers of others: chain c goes on from that of `sources[c]`."""
    return replace(chains, current=chains.current.taken(sources), home=chains.home[sources])


def picked(chains: Chains, among: Ints, rng: Random) -> int:
    """One of the chains `among`, each that is allowed equally likely. Raises `BadInput` where none is."""
    allowed = chains.allowed[among]
    if not allowed.any():
        raise BadInput(
            f"no chain has met an answer that is not forbidden by {chains.drawing.target.names}: ask for more chains "
            "or sweeps, or for less."
        )
    return rng.choose(allowed / allowed.sum())


def _cut(chains: Chains, rng: Random) -> Ints:
    lengths = chains.current.sheet.lengths.tolist()
    return np.asarray([rng.choose(np.full(n, 1 / n)) for n in lengths], np.int64)


def _decided(chains: Chains, rng: Random) -> Chains:
    """Every chain takes its draft or keeps what it has."""
    accepted = np.ones(chains.count, bool) if chains.forced else _accepted(chains, rng)
    home = np.arange(chains.count) + chains.count * accepted
    return replace(chains, current=chains.current.chosen(accepted, chains.draft.answer), home=home, accepted=accepted)


def _accepted(chains: Chains, rng: Random) -> Bools:
    now, new = chains.current, chains.draft.answer
    with np.errstate(invalid="ignore"):
        gain = np.where(chains.lam == 0, 0.0, chains.lam * (new.weight - now.weight))
    ratio = np.log(now.sheet.lengths) - np.log(new.sheet.lengths) + gain
    # Both forbidden gives NaN, and a chain stays where it is.
    chance = np.exp(np.minimum(np.where(np.isnan(ratio), -np.inf, ratio), 0.0))
    return np.asarray([bool(rng.choose(np.array([1 - p, p]))) for p in chance.tolist()])
