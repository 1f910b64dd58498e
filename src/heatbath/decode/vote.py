"""Self-consistency: independent answers, and the result that most share (Wang et al. 2023, arXiv:2203.11171)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral, build_token_sampler
from heatbath.decode.base import Task, TokenSampler
from heatbath.decode.independent import Independent, IndependentState
from heatbath.decode.rng import Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.sequences import (
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    repeat_prompt,
    require_single_prompt,
    validate_at_least,
)
from heatbath.energy.spec import Spec
from heatbath.models.base import Session

ResultKey = Callable[[str], Hashable]
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> Hashable:
    """The last number in a text, as a float; the text without outer blanks and case where there is none."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else text.strip().casefold()


@dataclass(frozen=True)
class VoteState:
    """Independent answers and the result each stands for."""

    inner_state: IndependentState
    key: Callable[[list[int]], Hashable]

    @property
    def num_slots(self) -> int:
        return self.inner_state.num_slots

    @property
    def num_streams(self) -> int:
        return self.inner_state.num_streams

    @property
    def is_finished(self) -> bool:
        return self.inner_state.is_finished

    def samples(self) -> WeightedSamples:
        """All answers; the value is the first whose result has most votes, ties going to the result met first."""
        found = self.inner_state.samples()
        results = [self.key(answer) for answer in found.sequences]
        winner, votes = Counter(results).most_common(1)[0]
        share = votes / len(results)
        error = float(np.sqrt(share * (1 - share) / len(results)))
        figures = {"share": share, "share_stderr": error, "results": float(len(set(results)))}
        return replace(found, selected_index=results.index(winner), diagnostics=figures)


@dataclass(frozen=True)
class Vote(SequenceSampler[VoteState]):
    """`n` answers of `sampler`; `key` reads the result off an answer's text, the last number in it by default."""

    n: int = 8
    sampler: TokenSampler = field(default_factory=Ancestral)
    key: ResultKey = last_number

    def init(self, task: Task) -> VoteState:
        validate_at_least(self.n, 1, "n")
        model, stop = require_single_prompt(task, "vote").model, set(task.stop_token_ids)

        def result(answer: list[int]) -> Hashable:
            return self.key(model.decode(answer[:-1] if answer and answer[-1] in stop else answer))

        return VoteState(Independent(self.sampler).init(repeat_prompt(task, self.n)), result)

    def pending(self, state: VoteState) -> Session | None:
        return Independent(self.sampler).pending(state.inner_state)

    def max_rows(self, prompts: int) -> int:
        return self.n

    def step(self, rng: Random, state: VoteState, energies: Any) -> tuple[VoteState, SequenceStep]:
        rows, move = Independent(self.sampler).step(rng, state.inner_state, energies)
        return replace(state, inner_state=rows), move


def _build_vote(arguments: SamplerArguments, **options: Any) -> Vote:
    return Vote(sampler=build_token_sampler(arguments), **options)


SPEC = Spec("vote", "sampler", _build_vote, options=("n", "key"), order=50)
