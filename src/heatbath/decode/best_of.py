"""Best of n: independent sequences, and the one with the lowest energy in a potential or the highest probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from heatbath.decode.ancestral import Ancestral, build_token_sampler
from heatbath.decode.base import Floats, Task, TokenSampler
from heatbath.decode.independent import Independent, SelectionState
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
from heatbath.energy.spec import ROWS, Spec
from heatbath.errors import BadInput
from heatbath.models.base import Session


@dataclass(frozen=True)
class BestOfState(SelectionState):
    """Independent sequences with the ranking criterion."""

    scorer: PotentialScorer
    by: Literal["logprob", "mean_logprob"]
    energies: Floats | None = None

    def samples(self) -> WeightedSamples:
        """Return all sequences; the selected one has the lowest score, a sequence that potentials forbid weight 0."""
        energies = self._model_scores() if self.energies is None else self.energies
        best, allowed = int(np.argmin(energies)), np.isfinite(energies)
        figures = {"score": float(energies[best]), "mean_score": float(energies.mean())}
        return replace(
            self.inner_state.samples(),
            selected_index=best,
            log_weight=np.where(allowed, 0.0, -np.inf),
            ess=float(allowed.sum()),
            diagnostics=figures,
        )

    def _model_scores(self) -> Floats:
        """Return minus the log-probabilities, which rank sequences that potentials have not scored."""
        buffer = self.inner_state.buffer
        total = -np.asarray(self.inner_state.logprob)
        return total / np.maximum(buffer.lengths, 1) if self.by == "mean_logprob" else total


@dataclass(frozen=True)
class BestOf(SequenceSampler[BestOfState]):
    """Draw `n` sequences with `sampler` and select the one with the lowest energy in `potentials`.

    Without potentials the model's probability at T = 1 ranks them, per token (`by="mean_logprob"`) or in total. The
    sequences are draws of `sampler` with weight 1 each, or 0 where the potentials forbid them; the distribution of the
    best of them is not known. Raises `BadInput` where the potentials forbid every sequence.
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
        rows, change = Independent(self.sampler, logprob_temperature=1.0).step(rng, state.inner_state, energies)
        state = replace(state, inner_state=rows)
        if rows.is_finished and state.scorer.potentials:
            state = replace(state, energies=state.scorer(rows.buffer.to_sequences(), rows.buffer.finished_mask))
            self._validate_energies(state)
        return state, change

    def _validate_energies(self, state: BestOfState) -> None:
        """Raise `BadInput` where the potentials forbid every sequence, so that none can be selected."""
        if state.energies is None or np.isfinite(state.energies).any():
            return
        names = ", ".join(repr(part.name) for _, part in state.scorer.potentials)
        raise BadInput(f"all {self.n} sequences are forbidden by {names}: increase `n` or relax the constraint.")


def _build_best_of(arguments: SamplerArguments, **options: Any) -> BestOf:
    return BestOf(sampler=build_token_sampler(arguments), potentials=arguments.potentials, **options)


SPEC = Spec(
    "best-of", "sampler", _build_best_of, options=("n", "by"), order=40, uses_potentials=True, ranges={"n": ROWS}
)
