"""Beam search for the most probable sequences, with exact scores.

The rule of when a hypothesis ends is that of transformers (`early_stopping=False`). A stop token ends a hypothesis only
where it is among the `width` best extensions of a step; the open hypotheses are the best other extensions. The `width`
finished ones with the best scores are kept. The search ends when there are `width` of them and no open hypothesis has,
at its present length, a better score than the worst of them; without a `length_penalty` none could then enter any more.
A beam of width 1 is therefore greedy decoding, at every temperature and `length_penalty`.

With several groups it is diverse beam search (Vijayakumar et al. 2016, arXiv:1610.02424): tokens that earlier groups
chose at the same step are penalised.
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
    BatchState,
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
from heatbath.energy.spec import ROWS, Range, Spec
from heatbath.ensemble import state as thermodynamics
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Session

MAX_LENGTH_PENALTY = 50
"""Lengths of up to a million tokens to this power are finite, and scores stay in order."""


@dataclass(frozen=True)
class BeamState(BatchState):
    """W slots of hypotheses that grow and W slots of finished sequences, by group.

    Attributes:
        logprob: log-probability of each slot in the searched distribution, (2 W,), -inf where it is free.
        model_logprob: log-probability of each slot in the model, (2 W,).
        finished_mask: slots with a finished sequence, (2 W,).
    """

    logprob: Floats
    model_logprob: Floats
    finished_mask: Bools
    stop_token_ids: tuple[int, ...]
    length_penalty: float
    tokens_spent: int = 0

    @property
    def scores(self) -> Floats:
        """Log-probability divided by length^`length_penalty`, (2 W,)."""
        lengths = np.maximum(self.buffer.lengths, 1)
        return np.asarray(_normalize_by_length(self.logprob, lengths, self.length_penalty))

    def samples(self) -> WeightedSamples:
        """Return the finished sequences, best first, or the open hypotheses where none has finished."""
        slots = np.flatnonzero(self.finished_mask) if self.finished_mask.any() else self.open_slots
        slots = slots[np.argsort(-self.scores[slots], kind="stable")]
        return WeightedSamples(
            sequences=self.buffer.to_sequences(slots),
            slots=slots,
            finish_reasons=self.buffer.finish_reasons(slots),
            log_weight=np.zeros(len(slots)),
            logprob=self.model_logprob[slots],
            selected_index=0,
            log_z=None,
            ess=float("nan"),
            tokens_spent=self.tokens_spent,
            diagnostics={"score": float(self.scores[slots[0]])},
        )


@dataclass(frozen=True)
class Beam(SequenceSampler[BeamState]):
    """Search for the `width` most probable sequences at `temperature`, with `fields` and `window`, in `groups`.

    Scores are log p / length^`length_penalty`. A token costs `diversity` nats for each earlier group that chose it. The
    sequences are the result of a search, not draws, so all weights are 1.
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
            raise BadInput(f"`groups` must divide `width` = {self.width}, got {self.groups}.", param="groups")
        if not self.temperature > 0:
            raise BadInput(
                f"`temperature` must be positive for beam search, got {self.temperature}.", param="temperature"
            )
        if not self.diversity >= 0:
            raise BadInput(f"`diversity` must be 0 nats or greater, got {self.diversity}.", param="diversity")
        if not abs(self.length_penalty) <= MAX_LENGTH_PENALTY:
            limits = f"from -{MAX_LENGTH_PENALTY} to {MAX_LENGTH_PENALTY}"
            raise BadInput(f"`length_penalty` must be {limits}, got {self.length_penalty}.", param="length_penalty")

    def init(self, task: Task) -> BeamState:
        require_single_prompt(task, "beam")
        batch = Ancestral(self.temperature).init(task)
        slots = 2 * self.width
        free = np.full(slots, -np.inf)
        first = np.arange(self.groups) * (self.width // self.groups)
        free[first] = 0.0
        return BeamState(
            buffer=TokenBuffer.empty(slots, task.max_tokens),
            batch=batch,
            open_slots=first,
            logprob=free,
            model_logprob=np.zeros(slots),
            finished_mask=np.zeros(slots, bool),
            stop_token_ids=task.stop_token_ids,
            length_penalty=self.length_penalty,
        )

    def pending(self, state: BeamState) -> Session | None:
        return state.session

    def max_rows(self, prompts: int) -> int:
        return self.width

    def step(self, rng: Random, state: BeamState, energies: Any) -> tuple[BeamState, SequenceStep]:
        batch = state.batch
        if not state.tokens_spent:
            batch, energies = batch.copy_row(state.open_slots, energies)
        result = EnergyPipeline(self.fields, self.window)(batch.build_context(energies), batch.betas, rng.uniform)
        hypotheses = self._select_hypotheses(state, _compute_extensions(state, result))
        if not hypotheses:
            batch.session.close()
            spent = state.tokens_spent + len(state.open_slots)
            return replace(state, open_slots=state.open_slots[:0], tokens_spent=spent), SequenceStep.copies()
        return _extend_beams(state, batch, hypotheses, result)

    def _select_hypotheses(self, state: BeamState, extensions: Extensions) -> list[Hypothesis]:
        """Select the hypotheses to keep among all extensions."""
        group_size = self.width // self.groups
        cost, hypotheses = np.zeros(extensions.energies.shape[1]), list[Hypothesis]()
        for group in range(self.groups):
            rows = np.flatnonzero(state.open_slots // group_size == group)
            if not len(rows):
                continue
            selection = self._select_in_group(state, rows, extensions.select_rows(rows), cost)
            for hypothesis in selection:
                cost[hypothesis.token] += self.diversity
            hypotheses += selection
        return hypotheses

    def _select_in_group(self, state: BeamState, rows: Ints, extensions: Extensions, cost: Floats) -> list[Hypothesis]:
        """Select the hypotheses of a group that stay open, and finished ones that beat those in its finished slots."""
        group_size = self.width // self.groups
        group = int(state.open_slots[rows[0]]) // group_size
        open_slots = list(range(group * group_size, (group + 1) * group_size))
        pool = [self.width + slot for slot in open_slots]
        scores = {slot: state.scores[slot] if state.finished_mask[slot] else -np.inf for slot in pool}
        is_last = int(state.buffer.lengths[state.open_slots].max()) + 1 == state.buffer.tokens.shape[1]
        unfinished, finished = list[Hypothesis](), dict[int, Hypothesis]()
        # So many that `group_size` of them stay open although stop tokens are among the best of every row.
        count = group_size * (1 + max(1, len(state.stop_token_ids)))
        for rank, flat in enumerate(_find_best_indices(extensions, cost, count)):
            row, token = divmod(flat, len(cost))
            hypothesis = Hypothesis(int(rows[row]), token, open_slots[0], float(extensions.logprob[row, token]))
            if token not in state.stop_token_ids and not is_last:
                if len(unfinished) < group_size:
                    unfinished.append(replace(hypothesis, slot=open_slots[len(unfinished)]))
                continue
            if rank >= group_size:
                continue
            length = int(state.buffer.lengths[state.open_slots[hypothesis.row]]) + 1
            score = float(_normalize_by_length(hypothesis.logprob, length, self.length_penalty))
            worst = min(pool, key=scores.__getitem__)
            if score > scores[worst]:
                scores[worst], finished[worst] = score, replace(hypothesis, slot=worst)
        length = int(state.buffer.lengths[state.open_slots[rows]].max()) + 1
        return self._drop_hopeless(unfinished, length, min(scores.values())) + list(finished.values())

    def _drop_hopeless(self, unfinished: list[Hypothesis], length: int, worst: float) -> list[Hypothesis]:
        """Return the open hypotheses of a group without those that need not go on; `worst` is the worst end's score."""
        scores = [_normalize_by_length(hypothesis.logprob, length, self.length_penalty) for hypothesis in unfinished]
        if self.length_penalty:
            return unfinished if max(scores, default=-np.inf) > worst else []
        # Probability only falls with length, so a hypothesis below the worst finished one can never enter.
        return [hypothesis for hypothesis, score in zip(unfinished, scores, strict=True) if score > worst]


@dataclass(frozen=True)
class Hypothesis:
    """An extension by one token: the row of its parent in the batch, the token, and its slot."""

    row: int
    token: int
    slot: int
    logprob: float


@dataclass(frozen=True)
class Extensions:
    """All extensions of open hypotheses by one token: log-probability and energy of the token, (A, V) each."""

    logprob: Floats
    energies: Floats

    def select_rows(self, rows: Ints) -> Extensions:
        """Return the extensions of some hypotheses."""
        return Extensions(self.logprob[rows], self.energies[rows])


def _compute_extensions(state: BeamState, pipeline_result: PipelineResult) -> Extensions:
    """Return the extensions of every open hypothesis by every token."""
    energies = to_numpy(pipeline_result.final_energies).astype(np.float64)
    log_z = to_numpy(thermodynamics(pipeline_result.final_energies, pipeline_result.betas).log_z)
    logprob = state.logprob[state.open_slots][:, None] - pipeline_result.betas[:, None] * energies - log_z[:, None]
    return Extensions(np.asarray(logprob), energies)


def _find_best_indices(extensions: Extensions, cost: Floats, count: int) -> list[int]:
    """Return flat indices of the most probable extensions after `cost` (V,), best first, then by energy and index.

    Log-probabilities tie by rounding where they are large or T is high; energies still tell the tokens of a row apart.
    """
    flat = (extensions.logprob - cost).ravel()
    count = min(count, len(flat))
    threshold = np.partition(flat, len(flat) - count)[len(flat) - count]
    indices = np.flatnonzero((flat >= threshold) & np.isfinite(flat))
    best: list[int] = indices[np.lexsort((extensions.energies.ravel()[indices], -flat[indices]))][:count].tolist()
    return best


def _extend_beams(
    state: BeamState, batch: Batch, hypotheses: list[Hypothesis], pipeline_result: PipelineResult
) -> tuple[BeamState, SequenceStep]:
    rows = np.asarray([hypothesis.row for hypothesis in hypotheses], np.int64)
    slots = np.asarray([hypothesis.slot for hypothesis in hypotheses], np.int64)
    step = Step(
        np.asarray([hypothesis.token for hypothesis in hypotheses], np.int64), pipeline_result.select_rows(rows)
    )
    sources = np.arange(state.num_slots)
    sources[slots] = state.open_slots[rows]
    buffer = state.buffer.copy_prefixes(sources).append_tokens(slots, step.tokens, state.stop_token_ids)
    logprob, model_logprob, finished = state.logprob.copy(), state.model_logprob[sources], state.finished_mask.copy()
    logprob[slots] = [hypothesis.logprob for hypothesis in hypotheses]
    model_logprob[slots] += step.model_logprob
    finished[slots] = buffer.finished_mask[slots]
    is_open = np.flatnonzero(~buffer.finished_mask[slots])
    if len(is_open):
        batch = replace(
            batch.select_rows(rows[is_open]), pending_tokens=step.tokens[is_open], row_ids=slots[is_open]
        ).push_pending()
    else:
        batch.session.close()
    state = replace(
        state,
        buffer=buffer,
        batch=batch,
        open_slots=slots[is_open],
        logprob=logprob,
        model_logprob=model_logprob,
        finished_mask=finished,
        tokens_spent=state.tokens_spent + len(state.open_slots),
    )
    return state, SequenceStep(slots, step, sources)


def _normalize_by_length(logprob: Any, length: Any, length_penalty: float) -> Any:
    """Return log-probabilities divided by length^`length_penalty`."""
    return logprob / np.power(np.asarray(length, np.float64), float(length_penalty))


def _build_beam(arguments: SamplerArguments, **options: Any) -> Beam:
    temperature = arguments.single_temperature()
    return Beam(temperature=temperature, fields=arguments.fields, window=arguments.window, **options)


SPEC = Spec(
    "beam",
    "sampler",
    _build_beam,
    options=("width", "length_penalty", "groups", "diversity"),
    order=30,
    ranges={
        "width": ROWS,
        "groups": ROWS,
        "length_penalty": Range(-float(MAX_LENGTH_PENALTY), float(MAX_LENGTH_PENALTY)),
        "diversity": Range(0.0, 1e30),
    },
)
