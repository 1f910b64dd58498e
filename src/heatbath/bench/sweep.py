"""Sweeps of the default model: time to edges of a width against a fixed number of texts, and tokens against TURN.

TURN (Du et al. 2025, arXiv 2502.05234; github.com/StigLidu/TURN) draws 32 texts at each of 14 temperatures from 0.1 to
1.4 and takes the first temperature at which the curve of log entropy bends upwards. It gives one temperature without
an interval; the sweep gives two edges and a range with intervals, on the same model, prompts and length.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.engine import generate
from heatbath.models import Model, load
from heatbath.phases import PhaseMap, SweepPlan, sweep
from heatbath.phases.plan_preparation import prepare_plan, restrict_model
from heatbath.phases.turn_baseline import find_turn, tenths_grid

MODEL = "smollm2-135m"
TURN_TEMPERATURES = tenths_grid(0.1, 1.4)
TURN_TEXTS = 32
PLAN = SweepPlan(chat=False)
SMALL_PLAN = replace(PLAN, sequences=128, batch=32, anchors=16, width=0.2)
"""A sweep of at most 2 / 7 of the texts of TURN, for the edges and a range."""


@dataclass(frozen=True)
class TimedMap:
    """A phase map and the seconds that sampling and analysis took."""

    map_: PhaseMap
    seconds: float

    def widest_edge(self) -> float:
        """Return the width of the wider of the two edges; infinite if one was not found."""
        intervals = [self.map_.edge(name).interval for name in ("freeze", "melt")]
        return max(math.inf if one is None else one[1] - one[0] for one in intervals)


def lines(plan: SweepPlan = PLAN, small_plan: SweepPlan = SMALL_PLAN) -> Iterator[BenchmarkLine]:
    """Measure a sweep that stops at a width against one of all texts, and a small sweep against TURN's procedure."""
    model = load(MODEL)
    yield compare_to_fixed_plan(model, plan)
    yield compare_to_turn(model, small_plan)


def compare_to_fixed_plan(model: Model, plan: SweepPlan) -> BenchmarkLine:
    """Return the time to edges as narrow as those of all texts of a plan, against the time of all its texts."""
    fixed = time_sweep(model, plan)
    width = fixed.widest_edge()
    aimed = time_sweep(model, replace(plan, width=width, seed=plan.seed + 1))
    reached = aimed.widest_edge() <= width < math.inf
    goal = (
        f"edges at most {width:.2f} wide" if reached else f"edges ({width:.2f} wide, reached {aimed.widest_edge():.2f})"
    )
    name = f"sweep to {goal} / fixed plan of {plan.sequences} texts"
    line = upper_limit_line(name, aimed.seconds, fixed.seconds, limit=0.5, unit="s")
    return replace(line, met=line.met and reached)


def time_sweep(model: Model, plan: SweepPlan) -> TimedMap:
    """Run a sweep and time it."""
    start = time.perf_counter()
    map_ = sweep(model, plan=plan)
    return TimedMap(map_, time.perf_counter() - start)


def compare_to_turn(model: Model, plan: SweepPlan) -> BenchmarkLine:
    """Return the tokens of a sweep that finds both edges and a range, against those of TURN's procedure."""
    turn, spent = run_turn(model, plan)
    map_ = sweep(model, plan=plan)
    advised = map_.advice.range
    found = "no range" if advised is None else f"T = {advised[0]:.2f} to {advised[1]:.2f}"
    name = f"tokens to edges and a range ({found}) / TURN ({'no turn' if turn is None else f'T = {turn:.1f}'})"
    line = upper_limit_line(name, map_.budget.tokens, spent, limit=1 / 3, unit="token")
    return replace(line, met=line.met and advised is not None)


def run_turn(model: Model, plan: SweepPlan) -> tuple[float | None, int]:
    """Run TURN's procedure on the prompts and the length of a plan: its temperature, if any, and the tokens drawn."""
    settled = prepare_plan(model, plan)
    entropy, tokens = [], 0
    for number, temperature in enumerate(TURN_TEMPERATURES.tolist()):
        run = generate(
            restrict_model(model, settled),
            [settled.prompts[i % len(settled.prompts)] for i in range(TURN_TEXTS)],
            temperature=temperature,
            max_tokens=settled.length,
            seed=settled.seed,
            first_row=number * TURN_TEXTS,
            record="nodes",
        )
        record, mask = run.arrays.record, run.arrays.mask
        assert record is not None
        per_token = record.nodes.entropy(np.broadcast_to(1 / temperature, mask.shape))
        entropy.append(float(np.where(mask, per_token, 0.0).sum() / mask.sum()))
        tokens += int(mask.sum())
    turn = find_turn(TURN_TEMPERATURES, np.log(np.maximum(entropy, 1e-12)))
    return (None if math.isnan(turn) else turn), tokens
