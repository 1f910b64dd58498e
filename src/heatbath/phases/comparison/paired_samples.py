"""Paired texts of two models: the same prompts, temperatures and random streams on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.decode.windows import Window
from heatbath.engine.registry import WINDOWS, BuildContext, resolve_components
from heatbath.errors import BadInput
from heatbath.models import Model, RestrictedModel
from heatbath.models.base import Tokens
from heatbath.phases.prefix_sums import SweepSamples
from heatbath.phases.sampling import SweepPlan, draw_batches
from heatbath.phases.scored_prompts import Prompt, encode_prompt

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[int, int], object]

MAX_BATCH_ROWS = 72
MIN_PROMPT_UNITS = 20
"""Number of prompts from which prompts, not texts, are the independent units of an interval."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        model: any model.
        seed: of the random streams; two sides of one seed draw from the same streams.
        window: windows that cut what is drawn, as in `generate`: "top_p=0.9", {"top_k": 40}, or several.
        label: as reports show it; by default the name of the model.
        settings: further facts for the report, such as the dtype.
    """

    model: Model
    seed: int = 0
    window: str | Mapping[str, Any] | Window | Sequence[str | Mapping[str, Any] | Window] | None = None
    label: str = ""
    settings: Mapping[str, Any] | None = None

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The windows, built.

        Raises:
            BadInput: no such window, or a value that does not fit.
        """
        context = BuildContext(self.model, 1)
        return tuple(resolve_components(WINDOWS, self.window, context, built=Window, param="window"))

    @property
    def name(self) -> str:
        """The label, or the name of the model."""
        return self.label or self.model.name


@dataclass(frozen=True)
class ComparisonPlan:
    """`pairs` pairs of texts of `length` tokens at each of `anchors` evenly spaced temperatures in [`low`, `high`].

    Pair g at temperature k is row r = g · anchors + k of both sides: it continues prompt g modulo the number of prompts
    and draws from the random stream (seed, r) of its side.
    """

    low: float = 0.2
    high: float = 1.8
    anchors: int = 17
    pairs: int = 20
    length: int = 128

    def validate(self) -> None:
        """Check the numbers that `SweepPlan` does not.

        Raises:
            BadInput: too few temperatures or pairs.
        """
        if not 6 <= self.anchors <= MAX_BATCH_ROWS:
            raise BadInput(f"`anchors` must be from 6 to {MAX_BATCH_ROWS}, got {self.anchors}.")
        if self.pairs < 4:
            raise BadInput(f"`pairs` must be at least 4 for intervals, got {self.pairs}.")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures, rising."""
        return tuple(np.linspace(self.low, self.high, self.anchors).round(12).tolist())

    @property
    def rows(self) -> int:
        """The number of texts of each side."""
        return self.anchors * self.pairs

    def build_sweep_plan(self, side: Side, prompts: Sequence[Tokens]) -> SweepPlan:
        """Return the plan of one side's texts, whose prompts and temperatures cycle independently."""
        repeats = max(m for m in range(1, self.pairs // 2 + 1) if self.pairs % m == 0 and self._fits(m))
        cycle = tuple(tuple(prompts[g % len(prompts)]) for g in range(len(prompts)) for _ in range(self.anchors))
        return SweepPlan(
            low=self.low,
            high=self.high,
            length=self.length,
            sequences=self.rows,
            batch=self.anchors * repeats,
            anchors=self.anchors,
            seed=side.seed,
            prompts=cycle,
            temperatures=self.temperatures,
        )

    def _fits(self, repeats: int) -> bool:
        return repeats == 1 or self.anchors * repeats <= MAX_BATCH_ROWS

    def number_units(self, num_prompts: int) -> Ints:
        """Return the number of the independent unit of each pair, (n,): its prompt if there are many, or the pair."""
        row = np.arange(self.rows)
        return row // self.anchors % num_prompts if num_prompts >= MIN_PROMPT_UNITS else row


@dataclass(frozen=True)
class SideSamples:
    """The texts of one side: sums over each, and the bytes of every token."""

    side: Side
    prompts: Sequence[Tokens]
    samples: SweepSamples

    @cached_property
    def pieces(self) -> list[list[bytes]]:
        """The bytes of the tokens of each text."""
        model = self.side.model
        return [[model.token_bytes(token) for token in row] for row in self.samples.tokens.tolist()]


def draw_side_samples(
    side: Side, prompts: Sequence[Prompt], plan: ComparisonPlan, *, out: Path | None, progress: Progress
) -> SideSamples:
    """Draw the texts of one side, or read those of an interrupted comparison from `out`.

    Raises:
        BadInput: the plan or a prompt cannot be used with the model, or the folder holds other texts.
    """
    from heatbath.phases.temperature_sweep import prepare_trace_folder

    model = side.model
    tokens = [encode_prompt(model, prompt) for prompt in prompts] or [()]
    sweep_plan = plan.build_sweep_plan(side, tokens)
    sweep_plan.validate(model)
    stop = model.vocabulary.stop_token_ids
    folder = prepare_trace_folder(out, sweep_plan, model) if out is not None else None
    samples: SweepSamples | None = None
    for samples in draw_batches(RestrictedModel(model, stop) if stop else model, sweep_plan, folder):
        progress(len(samples), plan.rows)
    assert samples is not None
    return SideSamples(side, tokens, samples)


def describe_plan(plan: ComparisonPlan, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Return the settings that both sides share, for the report."""
    return {**asdict(plan), "prompts": len(prompts)}
