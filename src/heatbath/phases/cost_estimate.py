"""The cost of a sweep before it starts: tokens, and minutes on this machine from a probe of a few steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.engine import generate
from heatbath.models import Model
from heatbath.models.base import Tokens
from heatbath.phases.ladder import geometric_ladder
from heatbath.phases.plan_preparation import restrict_model
from heatbath.phases.sampling import SweepPlan
from heatbath.phases.sweep_prompts import assign_prompts

Floats = NDArray[np.float64]

PROBE_STEPS = 6
MARGIN = 1.25
"""Factor by which a machine is slower or faster over minutes than over the seconds of a probe."""
GROWTH_LENGTH = 2048
"""Tokens of a text at which a step is allowed to take twice as long as at its start."""
MIN_SHARE = 0.25
"""Share of the steps assumed at the least where texts may end early: a batch goes on until its last text ends."""
ANALYSIS_SECONDS = (5.0, 30.0)


@dataclass(frozen=True)
class CostEstimate:
    """Texts and most tokens of a sweep, the range of seconds it takes, and whether texts may end earlier."""

    texts: int
    tokens: int
    seconds: tuple[float, float]
    may_end: bool

    def __str__(self) -> str:
        at_most = "at most " if self.may_end else ""
        return f"{self.texts:,} texts, {at_most}{self.tokens:,} tokens, {_format_range(self.seconds)} on this machine"


def estimate_cost(model: Model, plan: SweepPlan, *, answers: int = 0, answer_tokens: int = 0) -> CostEstimate:
    """Estimate what a sweep costs, from the first steps of one of its batches.

    Args:
        model: the model to sweep.
        plan: a plan prepared for it.
        answers: texts that are drawn after the sweep to score prompts.
        answer_tokens: most tokens of each of these.

    Raises:
        BadInput: the plan cannot be used.
    """
    rows = plan.batch
    prompts = [plan.prompts[i] for i in assign_prompts(len(plan.prompts), plan.seed, 0, rows)]
    start, *steps = _time_steps(model, plan, prompts, PROBE_STEPS + 1).tolist()
    batches = plan.sequences / plan.batch + answers / rows * answer_tokens / plan.length
    # The first step reads the prompts, and may compile kernels once: it counts towards the upper end alone.
    low = batches * plan.length * float(np.quantile(steps, 0.25))
    high = batches * (start + plan.length * max(steps) * (1 + plan.length / GROWTH_LENGTH))
    least = MIN_SHARE if plan.allow_end else 1.0
    seconds = (low * least / MARGIN + ANALYSIS_SECONDS[0], high * MARGIN + ANALYSIS_SECONDS[1])
    tokens = plan.sequences * plan.length + answers * answer_tokens
    return CostEstimate(plan.sequences + answers, tokens, seconds, bool(plan.allow_end or answers))


def _time_steps(model: Model, plan: SweepPlan, prompts: list[Tokens], count: int) -> Floats:
    """Return the seconds of each of `count` steps; the first includes reading the prompts."""
    times = [time.perf_counter()]
    generate(
        restrict_model(model, plan),
        prompts,
        temperature=np.resize(geometric_ladder(plan.low, plan.high, plan.anchors), len(prompts)),
        max_tokens=count,
        window=plan.window,
        seed=plan.seed,
        ignore_eos=True,
        record="full",
        on_step=lambda frame: times.append(time.perf_counter()),
    )
    return np.diff(times)


def _format_range(seconds: tuple[float, float]) -> str:
    low, high = seconds
    if high < 90:
        return f"{low:.0f} to {high:.0f} seconds"
    return f"{low / 60:.1f} to {high / 60:.1f} minutes"
