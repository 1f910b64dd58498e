"""Best of n: independent answers, and the one that a potential or the model's own probability puts lowest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from heatbath.decode.ancestral import Ancestral, build_token_sampler
from heatbath.decode.base import Floats, Task, TokenSampler
from heatbath.decode.independent import Independent, IndependentState
from heatbath.decode.potential_scorer import PotentialScorer
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
from heatbath.energy.base import Potential
from heatbath.energy.spec import Spec
from heatbath.models.base import Session


@dataclass(frozen=True)
class BestOfState:
    """Independent answers, and how they are ranked."""

    inner_state: IndependentState
    scorer: PotentialScorer
    by: Literal["logprob", "mean_logprob"]
    energies: Floats | None = None

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
        """All answers; the value is the one of lowest score."""
        energies = self._model_scores() if self.energies is None else self.energies
        best = int(np.argmin(energies))
        found = self.inner_state.samples()
        return replace(
            found, selected_index=best, diagnostics={"score": float(energies[best]), "mean_score": energies.mean()}
        )

    def _model_scores(self) -> Floats:
        """By the model, which ranks answers that potentials have not been asked about."""
        sheet = self.inner_state.buffer
        total = -np.asarray(self.inner_state.logprob)
        return total / np.maximum(sheet.lengths, 1) if self.by == "mean_logprob" else total


@dataclass(frozen=True)
class BestOf(SequenceSampler[BestOfState]):
    """`n` answers of `sampler`; the value has the lowest energy in `potentials`.

    Without potentials the model's own probability at T = 1 ranks, a token (`by="mean_logprob"`) or in all. The answers
    themselves stay draws of `sampler`, each of weight one; the best of them is a draw from no law that is known.
    """

    n: int = 8
    sampler: TokenSampler = field(default_factory=Ancestral)
    potentials: Potential | Sequence[Potential] = ()
    by: Literal["logprob", "mean_logprob"] = "mean_logprob"

    def init(self, task: Task) -> BestOfState:
        validate_at_least(self.n, 1, "n")
        scorer = PotentialScorer.from_task(self.potentials, require_single_prompt(task, "best-of"))
        return BestOfState(
            Independent(self.sampler, logprob_temperature=1.0).init(repeat_prompt(task, self.n)), scorer, self.by
        )

    def pending(self, state: BestOfState) -> Session | None:
        return Independent(self.sampler).pending(state.inner_state)

    def max_rows(self, prompts: int) -> int:
        return self.n

    def step(self, rng: Random, state: BestOfState, energies: Any) -> tuple[BestOfState, SequenceStep]:
        rows, move = Independent(self.sampler, logprob_temperature=1.0).step(rng, state.inner_state, energies)
        state = replace(state, inner_state=rows)
        if rows.is_finished and state.scorer.potentials:
            state = replace(state, energies=state.scorer(rows.buffer.to_sequences(), rows.buffer.finished_mask))
        return state, move


def _build_best_of(arguments: SamplerArguments, **options: Any) -> BestOf:
    return BestOf(sampler=build_token_sampler(arguments), potentials=arguments.potentials, **options)


SPEC = Spec("best-of", "sampler", _build_best_of, options=("n", "by"), order=40, uses_potentials=True)
