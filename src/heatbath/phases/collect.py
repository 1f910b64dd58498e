"""Draw the sequences of a sweep, batch by batch, each batch where the weights are thinnest; stop and go on at will."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatbath.engine import Generation, generate
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens
from heatbath.phases import ladder
from heatbath.phases.samples import BLOCKS, Samples, concatenate, gather

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What to draw: `sequences` of `length` tokens in batches of `batch`, at `anchors` temperatures in [`low`, `high`].

    `temperatures` fixes the ladder; otherwise the first batch finds one of equal thermodynamic steps, and the others go
    where the weights are thinnest. Row r of the sweep draws from the stream (`seed`, r) and continues prompt r mod the
    number of prompts.
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

    def check(self, model: Model) -> None:
        """Raise `BadInput` for a plan that cannot be carried out."""
        if not 0.1 <= self.low < self.high <= 3:
            raise BadInput(f"temperatures from {self.low:g} to {self.high:g}: choose 0.1 <= low < high <= 3.")
        if self.length < 2 * BLOCKS or self.length % BLOCKS:
            raise BadInput(f"a length of {self.length} tokens: give a multiple of {BLOCKS}, at least {2 * BLOCKS}.")
        if self.sequences < 2 * self.batch or self.sequences % self.batch:
            raise BadInput(
                f"{self.sequences} sequences in batches of {self.batch}: give a multiple, at least two batches."
            )
        self._check_ladder()
        if not model.vocabulary.start and any(not prompt for prompt in self.prompts) and model.vocabulary.size > 64:
            raise BadInput(f"{model.name} has no document-start token: give prompts.")

    def _check_ladder(self) -> None:
        ladder = np.asarray(self.temperatures or (self.low, self.high), np.float64)
        outside = ladder[~((ladder >= 0.1) & (ladder <= 3))]
        if outside.size:
            raise BadInput(f"a temperature of {outside[0]:g}: choose within [0.1, 3].")
        count = len(self.temperatures or ()) or self.anchors
        if not 6 <= count <= self.batch:
            raise BadInput(f"{count} temperatures in batches of {self.batch}: give at least 6, at most a batch.")


def batches(model: Model, plan: Plan, folder: Path | None = None) -> Iterator[Samples]:
    """Draw batch after batch, yielding all samples so far.

    With a folder every batch is written there as a Parquet file of traces as soon as it is complete; a later call with
    the same plan reads them instead of drawing again.
    """
    parts: list[Samples] = []
    for number in range(plan.sequences // plan.batch):
        first = number * plan.batch
        path = folder / f"batch-{number:04d}.parquet" if folder else None
        if path and path.exists():
            parts.append(_read(path, plan.length))
        else:
            temperatures = _temperatures(parts, plan, first)
            parts.append(_draw(model, plan, temperatures, first, path))
        yield concatenate(parts)


def _temperatures(parts: list[Samples], plan: Plan, first: int) -> Floats:
    if plan.temperatures is not None:
        return np.take(plan.temperatures, np.arange(first, first + plan.batch), mode="wrap")
    if not parts:
        return np.sort(np.resize(ladder.geometric(plan.low, plan.high, plan.anchors), plan.batch))
    samples = concatenate(parts)
    # The ladder comes from the first batch alone, so that its places stay the same throughout.
    anchors = ladder.by_length(parts[0], plan.low, plan.high, plan.anchors)
    return ladder.next_batch(samples, anchors, plan.batch)


def _draw(model: Model, plan: Plan, temperatures: Floats, first: int, path: Path | None) -> Samples:
    prompts = [plan.prompts[(first + i) % len(plan.prompts)] for i in range(len(temperatures))]
    run = generate(
        model,
        prompts,
        temperature=temperatures,
        max_tokens=plan.length,
        seed=plan.seed,
        first_row=first,
        record="nodes" if path is None else True,
    )
    if path is not None:
        _write(path, run)
    record = run.arrays.record
    assert record is not None
    # 1/beta is what a trace keeps: going through it makes a resumed sweep equal to the last bit.
    return gather(1 / (1 / run.arrays.betas), np.ascontiguousarray(run.arrays.tokens), record)


def _write(path: Path, run: Generation) -> None:
    from heatbath.record import write

    write(path, run.traces)


def _read(path: Path, length: int) -> Samples:
    from heatbath.record import Record, read

    traces = read(path)
    if any(len(trace) != length for trace in traces):
        raise BadInput(f"{path} holds texts of another length than {length}: resume with the same plan.")
    names = ("energy", "ground", "nodes/log_z", "nodes/mean_energy", "nodes/variance")
    record = Record({name: np.stack([trace.record[name] for trace in traces]) for name in names})
    temperatures = np.array([trace.temperature[0] for trace in traces])
    return gather(1 / temperatures, np.stack([trace.tokens for trace in traces]).astype(np.int32), record)
