"""Sweeps of the default model: time to edges of a width, and the tokens of advice against TURN's procedure.

With an earlier build (`HEATBATH_BENCH_BEFORE`: a checkout), its default sweep is timed against a sweep of this build
that stops at edges of the same width; both write reports and traces. Without one the same is done within this build,
against all texts of the plan.

TURN (Du et al. 2025, arXiv 2502.05234; github.com/StigLidu/TURN) draws 32 texts at each of 14 temperatures from 0.1 to
1.4 and takes the first temperature at which the curve of log entropy bends upwards. It gives one temperature without
an interval; the sweep gives two edges and a range with intervals, on the same model, prompts and length.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.bench.earlier_build import find_earlier_source, run_command
from heatbath.engine import generate
from heatbath.models import Model, load
from heatbath.phases import SweepPlan, sweep
from heatbath.phases.plan_preparation import prepare_plan, restrict_model
from heatbath.phases.turn_baseline import STEP, find_turn, tenths_grid

MODEL = "smollm2-135m"
TURN_TEMPERATURES = tenths_grid(0.1, 1.4)
TURN_TEXTS = 32
PLAN = SweepPlan(chat=False)
SMALL_PLAN = replace(PLAN, sequences=128, batch=32, anchors=16, width=0.2)
"""A sweep of at most 2 / 7 of the texts of TURN, for the edges and a range."""


@dataclass(frozen=True)
class TimedSweep:
    """The seconds that a sweep took, sampling and analysis, and the width of the wider of its two edges in T.

    The width is infinite if an edge was not found.
    """

    seconds: float
    width: float


def lines(plan: SweepPlan = PLAN, small_plan: SweepPlan = SMALL_PLAN) -> Iterator[BenchmarkLine]:
    """Measure a sweep that stops at a width against one of all texts, and a small sweep against TURN's procedure."""
    model = load(MODEL)
    source = find_earlier_source()
    yield compare_to_fixed_plan(model, plan) if source is None else compare_to_earlier(source, plan)
    yield from compare_to_turn(model, small_plan)


def compare_to_fixed_plan(model: Model, plan: SweepPlan) -> BenchmarkLine:
    """Return the time to edges as narrow as those of all texts of a plan, against the time of all its texts."""
    fixed = time_sweep(model, plan)
    aimed = time_sweep(model, replace(plan, width=fixed.width, seed=plan.seed + 1))
    return _width_line(aimed, fixed, f"fixed plan of {plan.sequences} texts")


def compare_to_earlier(source: Path, plan: SweepPlan) -> BenchmarkLine:
    """Return the time to edges as narrow as those of an earlier build, against the time of its sweep by the plan."""
    before = time_command(source, plan)
    aimed = time_command(None, replace(plan, width=before.width))
    return _width_line(aimed, before, f"earlier build, {plan.sequences} texts")


def _width_line(aimed: TimedSweep, fixed: TimedSweep, against: str) -> BenchmarkLine:
    reached = aimed.width <= fixed.width < math.inf
    goal = f"edges at most {fixed.width:.2f} wide"
    if not reached:
        goal = f"edges ({fixed.width:.2f} wide, reached {aimed.width:.2f})"
    line = upper_limit_line(f"sweep to {goal} / {against}", aimed.seconds, fixed.seconds, limit=0.5, unit="s")
    return replace(line, met=line.met and reached)


def time_sweep(model: Model, plan: SweepPlan) -> TimedSweep:
    """Run a sweep in this process and time it."""
    start = time.perf_counter()
    map_ = sweep(model, plan=plan)
    seconds = time.perf_counter() - start
    intervals = [map_.edge(name).interval for name in ("freeze", "melt")]
    return TimedSweep(seconds, max(map(_measure_width, intervals)))


def time_command(source: Path | None, plan: SweepPlan) -> TimedSweep:
    """Run `heatbath sweep` of a build in a fresh process, from its start to its report, and time it."""
    options = {"length": plan.length, "sequences": plan.sequences, "batch": plan.batch, "anchors": plan.anchors}
    arguments = [f"--{name}={value}" for name, value in (options | {"seed": plan.seed}).items()]
    if source is None:
        arguments.append("--raw")  # earlier builds know nothing else
    if plan.width is not None and plan.width < math.inf:
        arguments.append(f"--width={plan.width}")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        printed = run_command(source, "sweep", "--model", MODEL, *arguments, "--json", "--out", f"{folder}/report")
        seconds = time.perf_counter() - start
    edges = {edge["name"]: edge["interval"] for edge in json.loads(printed)["edges"]}
    return TimedSweep(seconds, max(_measure_width(edges[name]) for name in ("freeze", "melt")))


def _measure_width(interval: Sequence[float] | None) -> float:
    return math.inf if interval is None else interval[1] - interval[0]


def compare_to_turn(model: Model, plan: SweepPlan) -> Iterator[BenchmarkLine]:
    """Yield the tokens of a sweep, against those of TURN's procedure, for edges and a range and for TURN's temperature.

    The first line is met with a range between both edges. The second is met with an interval of TURN's temperature that
    holds, within a step of its grid on both sides, the temperature that the procedure found.
    """
    turn, spent = run_turn(model, plan)
    map_ = sweep(model, plan=plan)
    named = "TURN (no turn)" if turn is None else f"TURN (T = {turn:.1f})"
    advised, interval = map_.advice.range, map_.turn.interval
    found = "no range" if advised is None else f"T = {advised[0]:.2f} to {advised[1]:.2f}"
    name = f"tokens to edges and a range ({found}) / {named}"
    line = upper_limit_line(name, map_.budget.tokens, spent, limit=1 / 3, unit="token")
    yield replace(line, met=line.met and advised is not None)
    found = "no turn" if interval is None else f"T = {interval[0]:.1f} to {interval[1]:.1f}"
    holds = interval is not None and turn is not None and interval[0] - STEP <= turn <= interval[1] + STEP
    yield replace(line, name=f"tokens to TURN's temperature ({found}) / {named}", met=line.met and holds)


def run_turn(model: Model, plan: SweepPlan) -> tuple[float | None, int]:
    """Run TURN's procedure on the prompts and the length of a plan: its temperature, if any, and the tokens drawn.

    The entropy of a token is that of the whole vocabulary, not of the 1000 most likely tokens.
    """
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
        per_text = np.where(mask, per_token, 0.0).sum(1) / np.maximum(mask.sum(1), 1)
        entropy.append(float(per_text.mean()))
        tokens += int(mask.sum())
    turn = find_turn(TURN_TEMPERATURES, np.log(np.maximum(entropy, 1e-12)))
    return (None if math.isnan(turn) else turn), tokens
