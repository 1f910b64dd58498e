"""Power sampling and constraints by Metropolis-Hastings over whole answers, many chains in one batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from heatbath.decode.answers import Move, Samples, at_least, checked_burn, only_prompt
from heatbath.decode.base import Floats, Sampler, Task
from heatbath.decode.seeds import Random
from heatbath.decode.suffix import Chains, moved, picked
from heatbath.decode.target import Target
from heatbath.errors import Unreliable
from heatbath.estimate.bridge import bar
from heatbath.estimate.chains import jackknife, mixing
from heatbath.estimate.value import Estimate


@dataclass(frozen=True)
class Walk:
    """Chains with their past: after each sweep log p_T, the gain and whether drafts were accepted, (C, S).

    `fresh` are the gains of the whole answers that were drawn from the proposal to begin with, (C,).
    """

    chains: Chains
    sweeps: int
    burn: int
    logprob: Floats
    weight: Floats
    accepted: Floats
    fresh: Floats
    value: int = 0

    @property
    def slots(self) -> int:
        return 2 * self.chains.count

    @property
    def streams(self) -> int:
        return self.chains.count

    @property
    def done(self) -> bool:
        at_length = self.chains.limit == self.chains.drawing.task.max_tokens
        return bool(at_length and self.logprob.shape[1] == self.sweeps and self.chains.settled)

    def samples(self) -> Samples:
        """Where the chains stand; figures are taken over the sweeps after the first `burn`."""
        chains, kept = self.chains, self.logprob[:, self.burn :]
        now, (agreement, effective) = chains.current, mixing(kept)
        figures = {
            "acceptance": float(np.mean(self.accepted)) if self.accepted.size else float("nan"),
            "r_hat": agreement,
            "sweeps": float(self.logprob.shape[1]),
        }
        return Samples(
            answers=now.sheet.answers(),
            slots=chains.home,
            finish=now.sheet.finish(),
            log_weight=np.where(chains.allowed, 0.0, -np.inf),
            logprob=now.total_logprob,
            value=self.value,
            log_z=self.partition(),
            ess=effective,
            tokens_spent=chains.spent,
            diagnostics=figures,
        )

    def partition(self) -> Estimate | None:
        """log Z of the target by Bennett's ratio, between draws from the proposal and what the chains visited.

        Its error is the jackknife's over chains. None where chains grew by blocks, or some have not found an answer
        that the target allows.
        """
        visited = self.weight[:, self.burn :]
        if not visited.size or not self.fresh.size or not np.isfinite(visited).all():
            return None
        try:
            gains = np.concatenate([self.fresh[None], visited.T])
            return replace(bar(self.fresh, visited.ravel()), stderr=jackknife(_ratio, gains))
        except Unreliable:
            return None


@dataclass(frozen=True)
class Metropolis(Sampler[Walk, Move]):
    """`chains` chains of `sweeps` drafts each, the first `burn` share of which is forgotten.

    With a `block` answers grow by so many tokens at a time, with `sweeps` drafts at each length (Karan and Du 2025,
    algorithm 1); otherwise they are whole from the first draft on.
    """

    target: Target = field(default_factory=lambda: Target(power=4.0))
    chains: int = 8
    sweeps: int = 16
    burn: float = 0.5
    block: int | None = None

    def __post_init__(self) -> None:
        at_least(self.chains, 1, "chains")
        at_least(self.sweeps, 1, "sweeps")
        checked_burn(self.burn)
        if self.block is not None:
            at_least(self.block, 1, "block")

    def init(self, task: Task) -> Walk:
        only_prompt(task, "Metropolis")
        limit = min(self.block or task.max_tokens, task.max_tokens)
        none = np.empty((self.chains, 0))
        chains = Chains.begun(task, self.target, np.ones(self.chains), limit)
        return Walk(chains, self.sweeps, int(self.burn * self.sweeps), none, none, none, np.empty(0))

    def step(self, rng: Random, state: Walk) -> tuple[Walk, Move]:
        chains = state.chains
        starting = chains.settled and not chains.started
        if chains.settled and (starting or self._full(state)):
            chains = chains if starting else self._longer(chains)
            chains, move = moved(chains, rng, chains.current.sheet.lengths)
            state = replace(state, logprob=state.logprob[:, :0], weight=state.weight[:, :0])
        else:
            chains, move = moved(chains, rng)
        state = replace(state, chains=chains)
        if not chains.settled:
            return state, move
        return self._noted(state, rng), move

    def _full(self, state: Walk) -> bool:
        """Whether all sweeps at this length are done."""
        return bool(state.logprob.shape[1] == self.sweeps)

    def _longer(self, chains: Chains) -> Chains:
        return replace(chains, limit=min(chains.limit + (self.block or 0), chains.drawing.task.max_tokens))

    def _noted(self, state: Walk, rng: Random) -> Walk:
        chains = state.chains
        if chains.forced:
            whole = chains.limit == chains.drawing.task.max_tokens and not state.accepted.size
            return replace(state, fresh=chains.current.weight if whole else state.fresh)
        noted = replace(
            state,
            logprob=np.column_stack([state.logprob, chains.current.total_logprob]),
            weight=np.column_stack([state.weight, chains.current.weight]),
            accepted=np.column_stack([state.accepted, np.asarray(chains.accepted, np.float64)]),
        )
        if not self._full(noted) or chains.limit < chains.drawing.task.max_tokens:
            return noted
        return replace(noted, value=picked(chains, np.arange(chains.count), rng))


def _ratio(gains: Floats) -> float:
    """log Z from the gain of each chain's first answer and those it went on to, (1 + S, C)."""
    return bar(gains[0], gains[1:].ravel()).value
