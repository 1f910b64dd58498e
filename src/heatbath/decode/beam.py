"""Beam search: the answers of highest probability that a search of given width finds, exactly scored.

With several groups it is diverse beam search (Vijayakumar et al. 2016, arXiv:1610.02424): a group pays for tokens that
groups before it have taken at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Floats, Ints, Step, Task
from heatbath.decode.energy_pipeline import EnergyPipeline, PipelineResult
from heatbath.decode.rng import Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.sequences import (
    Bools,
    SequenceSampler,
    SequenceStep,
    TokenBuffer,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
)
from heatbath.decode.windows import Window
from heatbath.energy.base import Field
from heatbath.energy.spec import Spec
from heatbath.ensemble import state as thermodynamics
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Session


@dataclass(frozen=True)
class BeamState:
    """Hypotheses: `width` slots that grow and as many for whole answers, by group.

    `logprob` (2 W,) of each slot in what was searched, -inf where it is free; `model` (2 W,) in the model itself.
    """

    sheet: TokenBuffer
    batch: Batch
    open: Ints
    logprob: Floats
    model: Floats
    whole: Bools
    stop: tuple[int, ...]
    penalty: float
    spent: int = 0

    @property
    def slots(self) -> int:
        return len(self.logprob)

    @property
    def streams(self) -> int:
        return self.slots

    @property
    def done(self) -> bool:
        return not len(self.open)

    @property
    def score(self) -> Floats:
        """log p over the length to the power of the penalty, (2 W,)."""
        return self.logprob / np.maximum(self.sheet.lengths, 1) ** float(self.penalty)

    def samples(self) -> WeightedSamples:
        """Whole answers, best first; what is still open where there is none."""
        found = np.flatnonzero(self.whole) if self.whole.any() else self.open
        found = found[np.argsort(-self.score[found], kind="stable")]
        return WeightedSamples(
            answers=self.sheet.answers(found),
            slots=found,
            finish=self.sheet.finish(found),
            log_weight=np.zeros(len(found)),
            logprob=self.model[found],
            value=0,
            log_z=None,
            ess=float("nan"),
            tokens_spent=self.spent,
            diagnostics={"score": float(self.score[found[0]])},
        )


@dataclass(frozen=True)
class Beam(SequenceSampler[BeamState]):
    """The `width` best answers at `temperature`, after `fields` and `windows`, in `groups` of equal size.

    Scores are log p / length^`length_penalty`; `diversity` is what a token costs for each earlier group that took it.
    A search, not a draw: the answers carry no weights.
    """

    width: int = 4
    temperature: float = 1.0
    fields: Field | Sequence[Field] = ()
    window: Window | Sequence[Window] | None = None
    length_penalty: float = 0.0
    groups: int = 1
    diversity: float = 0.0

    def __post_init__(self) -> None:
        validate_at_least(self.width, 1, "width")
        if self.groups < 1 or self.width % self.groups:
            raise BadInput(f"{self.groups} groups do not share {self.width} beams: give a divisor.")
        if not self.temperature > 0:
            raise BadInput(f"the temperature is {self.temperature}: a search needs one above 0.")
        if not self.diversity >= 0:
            raise BadInput(f"the diversity is {self.diversity}: give a number of nats from 0 up.")

    def init(self, task: Task) -> BeamState:
        require_single_prompt(task, "beam")
        batch = Ancestral(self.temperature).init(task)
        slots = 2 * self.width
        free = np.full(slots, -np.inf)
        first = np.arange(self.groups) * (self.width // self.groups)
        free[first] = 0.0
        return BeamState(
            sheet=TokenBuffer.empty(slots, task.max_tokens),
            batch=batch,
            open=first,
            logprob=free,
            model=np.zeros(slots),
            whole=np.zeros(slots, bool),
            stop=task.stop_token_ids,
            penalty=self.length_penalty,
        )

    def pending(self, state: BeamState) -> Session | None:
        return None if state.done else state.batch.session

    def max_rows(self, prompts: int) -> int:
        return self.width

    def step(self, rng: Random, state: BeamState, energies: Any) -> tuple[BeamState, SequenceStep]:
        batch = state.batch
        if not state.spent:
            batch, energies = batch.spread(state.open, energies)
        steered = EnergyPipeline(self.fields, self.window)(batch.build_context(energies), batch.betas, rng.uniform)
        children = self._select_hypotheses(state, _extended_logprobs(state, steered))
        if not children:
            batch.session.close()
            return replace(state, open=state.open[:0], spent=state.spent + len(state.open)), SequenceStep(
                state.open[:0], None
            )
        return _extend_beams(state, batch, children, steered)

    def _select_hypotheses(self, state: BeamState, total: Floats) -> list[Hypothesis]:
        """The children that live on, from log-probabilities (A, V) of all there could be."""
        each = self.width // self.groups
        cost, found = np.zeros(total.shape[1]), list[Hypothesis]()
        for group in range(self.groups):
            rows = np.flatnonzero(state.open // each == group)
            if not len(rows):
                continue
            chosen = self._select_in_group(state, rows, total[rows], cost)
            for child in chosen:
                cost[child.token] += self.diversity
            found += chosen
        return found

    def _select_in_group(self, state: BeamState, rows: Ints, total: Floats, cost: Floats) -> list[Hypothesis]:
        """Up to a group's share of children that go on, and whole ones that beat what its pool holds."""
        each = self.width // self.groups
        group = int(state.open[rows[0]]) // each
        going = list(range(group * each, (group + 1) * each))
        pool = [self.width + slot for slot in going]
        scores = {slot: state.score[slot] if state.whole[slot] else -np.inf for slot in pool}
        last = int(state.sheet.lengths[state.open].max()) + 1 == state.sheet.tokens.shape[1]
        going_on, whole = list[Hypothesis](), dict[int, Hypothesis]()
        for flat in _find_best_indices(total - cost, 2 * each + len(state.stop)):
            row, token = divmod(flat, total.shape[1])
            child = Hypothesis(int(rows[row]), token, going[0], float(total[row, token]))
            if token not in state.stop and not last:
                going_on += [replace(child, slot=going[len(going_on)])] if len(going_on) < each else []
                continue
            score = child.logprob / (int(state.sheet.lengths[state.open[child.row]]) + 1) ** self.length_penalty
            worst = min(pool, key=scores.__getitem__)
            if score > scores[worst]:
                scores[worst], whole[worst] = score, replace(child, slot=worst)
        if self.length_penalty == 0:
            # What goes on can only lose probability: below the worst of a full pool it has no future.
            going_on = [child for child in going_on if child.logprob > min(scores.values())]
        return going_on + list(whole.values())


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis one token longer: the row of its parent in the batch, the slot it goes to."""

    row: int
    token: int
    slot: int
    logprob: float


def _extended_logprobs(state: BeamState, pipeline_result: PipelineResult) -> Floats:
    """Log-probability (A, V) of every open hypothesis with every token."""
    energies = to_numpy(pipeline_result.drawn).astype(np.float64)
    log_z = to_numpy(thermodynamics(pipeline_result.drawn, pipeline_result.betas).log_z)
    return np.asarray(state.logprob[state.open][:, None] - pipeline_result.betas[:, None] * energies - log_z[:, None])


def _find_best_indices(total: Floats, count: int) -> list[int]:
    """Flat indices of the greatest of `total` that are finite, best first, ties in order of index."""
    flat = total.ravel()
    count = min(count, len(flat))
    edge = np.partition(flat, len(flat) - count)[len(flat) - count]
    found = np.flatnonzero((flat >= edge) & np.isfinite(flat))
    order: list[int] = found[np.argsort(-flat[found], kind="stable")][:count].tolist()
    return order


def _extend_beams(
    state: BeamState, batch: Batch, hypotheses: list[Hypothesis], pipeline_result: PipelineResult
) -> tuple[BeamState, SequenceStep]:
    rows = np.asarray([child.row for child in hypotheses], np.int64)
    slots = np.asarray([child.slot for child in hypotheses], np.int64)
    step = Step(np.asarray([child.token for child in hypotheses], np.int64), pipeline_result.take(rows))
    sources = np.arange(state.slots)
    sources[slots] = state.open[rows]
    sheet = state.sheet.taken(sources).grown(slots, step.tokens, state.stop)
    logprob, model, whole = state.logprob.copy(), state.model[sources], state.whole.copy()
    logprob[slots] = [child.logprob for child in hypotheses]
    model[slots] += step.model_logprob
    whole[slots] = sheet.ended[slots]
    open_ = np.flatnonzero(~sheet.ended[slots])
    if len(open_):
        batch = replace(
            batch.select_rows(rows[open_]), pending_tokens=step.tokens[open_], row_ids=slots[open_]
        ).push_pending()
    else:
        batch.session.close()
    grown = replace(
        state,
        sheet=sheet,
        batch=batch,
        open=slots[open_],
        logprob=logprob,
        model=model,
        whole=whole,
        spent=state.spent + len(state.open),
    )
    return grown, SequenceStep(slots, step, sources)


def _build_beam(arguments: SamplerArguments, **options: Any) -> Beam:
    temperature = arguments.single_temperature()
    return Beam(temperature=temperature, fields=arguments.fields, window=arguments.window, **options)


SPEC = Spec("beam", "sampler", _build_beam, options=("width", "length_penalty", "groups", "diversity"), order=30)
