"""Sample the sequences of a sweep in batches, each at the temperatures with the smallest effective sample size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.engine import Generation, generate
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens
from heatbath.phases import ladder
from heatbath.phases.edge_looks import MIN_BATCHES, aim_at_edges, is_narrow, look_at_edges
from heatbath.phases.edges import Edge
from heatbath.phases.prefix_sums import BLOCKS, SweepSamples, compute_prefix_sums, concatenate_samples
from heatbath.phases.sweep_prompts import assign_prompts
from heatbath.record import NODE_COLUMNS, Record

Floats = NDArray[np.float64]

_SUMMED_COLUMNS = ("energy", "ground")


@dataclass(frozen=True)
class SweepPlan:
    """The samples of a sweep: `sequences` of `length` tokens in batches of `batch`, at temperatures in [`low`, `high`].

    The first batch is at `anchors` geometrically spaced temperatures. From it follows a ladder of `anchors` steps of
    equal thermodynamic length, and later batches go to its temperatures with the smallest effective sample size;
    `temperatures` fixes the ladder instead. Row r of the sweep uses the random stream (`seed`, r); as many rows in
    turn as there are prompts continue each prompt once.

    Attributes:
        prompts: tokens that texts continue; an empty prompt is the start of a document.
        chat: prompts go through the chat template of the model; None: if it has one.
        system: a system message in front of the prompts of a chat.
        window: windows that tokens are drawn through, such as ("top_p=0.9",); records stay of the model without them,
            and every text counts at its own temperature alone.
        allow_end: texts may end before `length`; None: in a chat. Otherwise the end of a text is forbidden.
        width: stop as soon as the intervals of both edges are at most this wide, in units of T, and aim the texts at
            the edges until then; `sequences` is the most that are drawn.
    """

    low: float = 0.2
    high: float = 1.8
    length: int = 128
    sequences: int = 448
    batch: int = 64
    anchors: int = 20
    seed: int = 0
    prompts: tuple[Tokens, ...] = field(default=((),))
    temperatures: tuple[float, ...] | None = None
    chat: bool | None = None
    system: str | None = None
    window: tuple[str, ...] = ()
    allow_end: bool | None = None
    width: float | None = None

    def validate(self, model: Model) -> None:
        """Check the plan against `model`.

        Raises:
            BadInput: a number is out of range, or the model needs prompts and there are none.
        """
        if not 0.1 <= self.low < self.high <= 3:
            raise BadInput(f"temperatures must satisfy 0.1 <= low < high <= 3, got {self.low:g} and {self.high:g}.")
        if self.length < 2 * BLOCKS or self.length % BLOCKS:
            raise BadInput(f"`length` must be a multiple of {BLOCKS}, at least {2 * BLOCKS}, got {self.length}.")
        if self.sequences < 2 * self.batch or self.sequences % self.batch:
            raise BadInput(
                f"`sequences` must be a multiple of the batch size {self.batch}, at least two batches, "
                f"got {self.sequences}."
            )
        if self.width is not None and not self.width > 0:
            raise BadInput(f"`width` must be positive, got {self.width:g}.")
        self._validate_ladder()
        if (
            not model.vocabulary.start_token_ids
            and any(not prompt for prompt in self.prompts)
            and model.vocabulary.size > 64
        ):
            raise BadInput(f"{model.name} has no token for the start of a document: give prompts.")

    def _validate_ladder(self) -> None:
        ladder = np.asarray(self.temperatures or (self.low, self.high), np.float64)
        outside = ladder[~((ladder >= 0.1) & (ladder <= 3))]
        if outside.size:
            raise BadInput(f"`temperatures` must be in [0.1, 3], got {outside[0]:g}.")
        count = len(self.temperatures or ()) or self.anchors
        if not 6 <= count <= self.batch:
            raise BadInput(
                f"there must be at least 6 temperatures and at most the batch size {self.batch}, got {count}."
            )


@dataclass(frozen=True)
class BatchRows:
    """The prompts and temperatures of the rows from `first_row` on, (n,) each."""

    prompts: Sequence[Tokens]
    temperatures: Floats
    first_row: int


def draw_batches(model: Model, plan: SweepPlan, folder: Path | None = None) -> Iterator[SweepSamples]:
    """Sample batch after batch, and yield all samples so far after each.

    With a `width`, the batches end early at the first look at which both edges are found and narrow enough.

    With a folder, each batch is written there as a Parquet file of traces as soon as it is complete; a later call with
    the same plan reads these files instead of sampling again.
    """
    parts: list[SweepSamples] = []
    for number in range(plan.sequences // plan.batch):
        edges: Sequence[Edge] = ()
        if plan.width is not None and number >= MIN_BATCHES:
            edges = look_at_edges(model, concatenate_samples(parts), plan.seed)
            if all(is_narrow(edge, plan.width) for edge in edges):
                return
        first = number * plan.batch
        path = folder / f"batch-{number:04d}.parquet" if folder else None
        if path and path.exists():
            parts.append(read_rows(path, plan, name_run(model, plan, first)))
        else:
            temperatures = _choose_temperatures(parts, plan, first, edges)
            parts.append(_draw_batch(model, plan, temperatures, first, path))
        yield concatenate_samples(parts)


def _choose_temperatures(parts: list[SweepSamples], plan: SweepPlan, first_row: int, edges: Sequence[Edge]) -> Floats:
    if plan.temperatures is not None:
        return np.take(plan.temperatures, np.arange(first_row, first_row + plan.batch), mode="wrap")
    if not parts:
        return np.sort(np.resize(ladder.geometric_ladder(plan.low, plan.high, plan.anchors), plan.batch))
    samples = concatenate_samples(parts)
    # The ladder follows from the first batch alone, so that its temperatures stay the same for all later batches.
    anchors = ladder.equal_length_ladder(parts[0], plan.low, plan.high, plan.anchors)
    thin = ladder.choose_batch_temperatures(samples, anchors, plan.batch)
    if plan.width is None or plan.window:
        return thin
    return aim_at_edges(edges, thin, (plan.low, plan.high), plan.width)


def _draw_batch(model: Model, plan: SweepPlan, temperatures: Floats, first_row: int, path: Path | None) -> SweepSamples:
    prompts = [plan.prompts[i] for i in assign_prompts(len(plan.prompts), plan.seed, first_row, len(temperatures))]
    return draw_rows(model, plan, BatchRows(prompts, temperatures, first_row), path)


def draw_rows(model: Model, plan: SweepPlan, rows: BatchRows, path: Path | None) -> SweepSamples:
    """Sample some rows of a plan, and write their traces to `path` if there is one."""
    run = generate(
        model,
        rows.prompts,
        temperature=rows.temperatures,
        max_tokens=plan.length,
        window=plan.window,
        seed=plan.seed,
        first_row=rows.first_row,
        record="nodes" if path is None else "full",
    )
    if path is not None:
        _write_traces(path, run, name_run(model, plan, rows.first_row))
    record = run.arrays.record
    assert record is not None
    names = [*_SUMMED_COLUMNS, *NODE_COLUMNS]
    columns = {name: pad_columns(record[name], plan.length) for name in names}
    tokens = np.where(run.arrays.mask, run.arrays.tokens, -1)
    # A trace stores 1/beta: the same rounding here makes a resumed sweep equal to the last bit.
    return _sum_prefixes(plan, 1 / (1 / run.arrays.betas), pad_columns(tokens, plan.length, -1), Record(columns))


def _sum_prefixes(plan: SweepPlan, betas: Floats, tokens: NDArray[np.int32], record: Record) -> SweepSamples:
    samples = compute_prefix_sums(betas, np.ascontiguousarray(tokens, np.int32), record)
    return replace(samples, may_end=bool(plan.allow_end), is_reweightable=not plan.window)


def pad_columns(column: NDArray[Any], length: int, value: float = 0) -> NDArray[Any]:
    """Return an array of rows and steps (n, t, ...) with `value` in further steps, up to `length` of them."""
    missing = length - column.shape[1]
    if missing <= 0:
        return column
    return np.pad(column, [(0, 0), (0, missing), *[(0, 0)] * (column.ndim - 2)], constant_values=value)


def name_run(model: Model, plan: SweepPlan, first_row: int) -> str:
    """Return a text that tells a batch from those of other models, plans and places.

    More sequences continue the same random streams, so that their number does not matter.
    """
    return json.dumps([model.fingerprint, asdict(replace(plan, sequences=0)), first_row])


def _write_traces(path: Path, run: Generation, run_id: str) -> None:
    from heatbath.record.parquet import mark_run, write_tables

    write_tables(path, (mark_run(trace.to_table(), run_id) for trace in run.traces))


def read_rows(path: Path, plan: SweepPlan, run_id: str) -> SweepSamples:
    """Read the rows that `draw_rows` wrote to a file.

    Raises:
        BadInput: the file is not the one that was written for this batch, or holds texts of another length.
    """
    from heatbath.record import read_traces
    from heatbath.record.parquet import has_run_mark

    traces = read_traces(path)
    if any(len(trace) > plan.length or (len(trace) < plan.length and not plan.allow_end) for trace in traces):
        raise BadInput(f"{path} holds texts of a length other than {plan.length}: resume with the same plan.")
    if not has_run_mark(path, run_id):
        raise BadInput(f"{path} is not this batch of this sweep: give another folder, or remove the file.")
    names = (*_SUMMED_COLUMNS, *NODE_COLUMNS)
    record = Record({name: _stack_rows([trace.record[name] for trace in traces], plan.length) for name in names})
    temperatures = np.array([trace.temperature[0] for trace in traces])
    return _sum_prefixes(plan, 1 / temperatures, _stack_rows([t.tokens for t in traces], plan.length, -1), record)


def _stack_rows(rows: Sequence[NDArray[Any]], length: int, value: float = 0) -> NDArray[Any]:
    return np.concatenate([pad_columns(row[None], length, value) for row in rows])
