"""Paired texts of two models: the same prompts, temperatures and random streams on both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.decode.windows import Window
from heatbath.engine.registry import WINDOWS, BuildContext, resolve_components
from heatbath.errors import BadInput
from heatbath.models import Model
from heatbath.models.base import Tokens
from heatbath.phases.plan_preparation import prepare_plan, restrict_model
from heatbath.phases.prefix_sums import SweepSamples, concatenate_samples
from heatbath.phases.sampling import BatchRows, SweepPlan, draw_rows, name_run, read_rows
from heatbath.phases.text_samples import decode_pieces
from heatbath.questions.prompt_tokens import has_chat_template
from heatbath.questions.scored_prompts import Prompt

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
        window: windows that cut what is drawn: "top_p=0.9", or several.
        label: as reports show it; by default the name of the model.
    """

    model: Model
    seed: int = 0
    window: str | Sequence[str] = ()
    label: str = ""

    @property
    def window_texts(self) -> tuple[str, ...]:
        """The windows as text."""
        return (self.window,) if isinstance(self.window, str) else tuple(self.window)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The windows, built.

        Raises:
            BadInput: no such window, or a value that does not fit.
        """
        context = BuildContext(self.model, 1)
        return tuple(resolve_components(WINDOWS, list(self.window_texts), context, built=Window, param="window"))

    @property
    def name(self) -> str:
        """The label, or the name of the model."""
        return self.label or self.model.name


@dataclass(frozen=True)
class ComparisonPlan:
    """`pairs` pairs of texts of `length` tokens at each of `anchors` evenly spaced temperatures in [`low`, `high`].

    Pair g at temperature k is row r = g · anchors + k of both sides: it continues prompt g modulo the number of prompts
    and draws from the random stream (seed, r) of its side. `chat`, `system` and `allow_end` are those of `SweepPlan`;
    by default both sides are in a chat, and may end, if both models can.
    """

    low: float = 0.2
    high: float = 1.8
    anchors: int = 17
    pairs: int = 20
    length: int = 128
    chat: bool | None = None
    system: str | None = None
    allow_end: bool | None = None

    def settle(self, a: Model, b: Model) -> ComparisonPlan:
        """Return the plan with chat and end of text settled for two models.

        Raises:
            BadInput: too few temperatures or pairs.
        """
        if not 6 <= self.anchors <= MAX_BATCH_ROWS:
            raise BadInput(f"`anchors` must be from 6 to {MAX_BATCH_ROWS}, got {self.anchors}.")
        if self.pairs < 4:
            raise BadInput(f"`pairs` must be at least 4 for intervals, got {self.pairs}.")
        chat = has_chat_template(a) and has_chat_template(b) if self.chat is None else self.chat
        can_end = bool(a.vocabulary.stop_token_ids) and bool(b.vocabulary.stop_token_ids)
        return replace(self, chat=chat, allow_end=chat and can_end if self.allow_end is None else self.allow_end)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures, rising."""
        return tuple(np.linspace(self.low, self.high, self.anchors).round(12).tolist())

    @property
    def rows(self) -> int:
        """The number of texts of each side."""
        return self.anchors * self.pairs

    def build_sweep_plan(self, side: Side, prompts: Sequence[Prompt] | None) -> SweepPlan:
        """Return the plan of one side's texts, with its prompts as tokens.

        Raises:
            BadInput: a number, a prompt or a window cannot be used with the model.
        """
        divisors = [m for m in range(1, self.pairs // 2 + 1) if self.pairs % m == 0]
        plan = SweepPlan(
            low=self.low,
            high=self.high,
            length=self.length,
            sequences=self.rows,
            batch=self.anchors * max(m for m in divisors if self.anchors * m <= MAX_BATCH_ROWS),
            anchors=self.anchors,
            seed=side.seed,
            temperatures=self.temperatures,
            chat=self.chat,
            system=self.system,
            window=side.window_texts,
            allow_end=self.allow_end,
        )
        return prepare_plan(side.model, plan, prompts)

    def number_prompts(self, num_prompts: int) -> Ints:
        """Return the index of the prompt of each row, (n,): it cycles apart from the temperature."""
        return np.arange(self.rows) // self.anchors % num_prompts

    def number_units(self, num_prompts: int) -> Ints:
        """Return the number of the independent unit of each pair, (n,): its prompt if there are many, or the pair."""
        many = num_prompts >= MIN_PROMPT_UNITS
        return self.number_prompts(num_prompts) if many else np.arange(self.rows)


@dataclass(frozen=True)
class SideSamples:
    """The texts of one side: the prompt of each, and sums over its tokens."""

    side: Side
    prompts: Sequence[Tokens]
    num_prompts: int
    samples: SweepSamples

    @cached_property
    def pieces(self) -> list[list[bytes]]:
        """The bytes of the tokens of each text, without the token that ended it."""
        return decode_pieces(self.side.model, self.samples)


def draw_side_samples(
    side: Side, prompts: Sequence[Prompt] | None, plan: ComparisonPlan, *, out: Path | None, progress: Progress
) -> SideSamples:
    """Draw the texts of one side, or read those of an interrupted comparison from `out`.

    Raises:
        BadInput: the plan or a prompt cannot be used with the model, or the folder holds other texts.
    """
    from heatbath.phases.temperature_sweep import prepare_trace_folder

    sweep_plan = plan.build_sweep_plan(side, prompts)
    folder = prepare_trace_folder(out, sweep_plan, side.model) if out is not None else None
    model = restrict_model(side.model, sweep_plan)
    order = plan.number_prompts(len(sweep_plan.prompts))
    row_prompts = [sweep_plan.prompts[i] for i in order]
    parts: list[SweepSamples] = []
    for first in range(0, plan.rows, sweep_plan.batch):
        last = first + sweep_plan.batch
        path = folder / f"batch-{first // sweep_plan.batch:04d}.parquet" if folder is not None else None
        if path is not None and path.exists():
            parts.append(read_rows(path, sweep_plan, name_run(model, sweep_plan, first)))
        else:
            temperatures = np.take(plan.temperatures, np.arange(first, last), mode="wrap")
            rows = BatchRows(row_prompts[first:last], temperatures, first)
            parts.append(draw_rows(model, sweep_plan, rows, path))
        progress(last, plan.rows)
    return SideSamples(side, row_prompts, len(sweep_plan.prompts), concatenate_samples(parts))


def describe_plan(plan: ComparisonPlan, num_prompts: int) -> dict[str, Any]:
    """Return the settings that both sides share, for the report."""
    return {**asdict(plan), "prompts": num_prompts}
