"""Self-consistency: independent sequences and a majority vote on their results (Wang et al. 2023, arXiv:2203.11171)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral, build_token_sampler
from heatbath.decode.base import Task, TokenSampler
from heatbath.decode.independent import Independent, SelectionState
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
from heatbath.energy.spec import ROWS, Spec
from heatbath.models.base import Session

ResultKey = Callable[[str], Hashable]
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> Hashable:
    """Return the last number in a text as a float, or the stripped and casefolded text where there is none."""
    numbers = _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else text.strip().casefold()


@dataclass(frozen=True)
class VoteState(SelectionState):
    """Independent sequences with the function that returns the result of each."""

    key: Callable[[list[int]], Hashable]

    def samples(self) -> WeightedSamples:
        """Return all sequences; the selected one is the first with the most frequent result, the earliest on a tie."""
        samples = self.inner_state.samples()
        results = [self.key(sequence) for sequence in samples.sequences]
        winner, votes = Counter(results).most_common(1)[0]
        share = votes / len(results)
        error = float(np.sqrt(share * (1 - share) / len(results)))
        figures = {"share": share, "share_stderr": error, "results": float(len(set(results)))}
        return replace(samples, selected_index=results.index(winner), diagnostics=figures)


@dataclass(frozen=True)
class Vote(SequenceSampler[VoteState]):
    """Draw `n` sequences with `sampler` and select one with the most frequent result.

    `key` maps the text of a sequence to its result, by default the last number in it.
    """

    n: int = 8
    sampler: TokenSampler = field(default_factory=Ancestral)
    key: ResultKey = last_number

    def init(self, task: Task) -> VoteState:
        validate_at_least(self.n, 1, "n")
        model, stop = require_single_prompt(task, "vote").model, set(task.stop_token_ids)

        def read_result(tokens: list[int]) -> Hashable:
            return self.key(model.decode(tokens[:-1] if tokens and tokens[-1] in stop else tokens))

        return VoteState(Independent(self.sampler).init(repeat_prompt(task, self.n)), read_result)

    def pending(self, state: VoteState) -> Session | None:
        return Independent(self.sampler).pending(state.inner_state)

    def max_rows(self, prompts: int) -> int:
        return self.n

    def step(self, rng: Random, state: VoteState, energies: Any) -> tuple[VoteState, SequenceStep]:
        rows, change = Independent(self.sampler).step(rng, state.inner_state, energies)
        return replace(state, inner_state=rows), change


def _build_vote(arguments: SamplerArguments, **options: Any) -> Vote:
    return Vote(sampler=build_token_sampler(arguments), **options)


SPEC = Spec("vote", "sampler", _build_vote, options=("n", "key"), order=50, ranges={"n": ROWS})
