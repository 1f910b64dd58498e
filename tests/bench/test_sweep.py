"""The sweep group counts TURN's tokens in full, and says when a width or a range was not reached."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heatbath.bench import earlier_build
from heatbath.bench import sweep as bench
from heatbath.errors import BadInput, HeatbathError
from heatbath.models import MarkovModel, UrnModel
from heatbath.phases import PhaseMap, SweepPlan, sweep

PLAN = SweepPlan(low=0.4, high=2.0, length=32, sequences=64, batch=32, anchors=8)


@pytest.fixture(scope="module")
def small() -> PhaseMap:
    return sweep(UrnModel(1.0), plan=PLAN)


def test_turn_draws_32_texts_at_14_temperatures() -> None:
    _, tokens = bench.run_turn(UrnModel(1.0), PLAN)
    assert tokens == 14 * 32 * 32 and len(bench.TURN_TEMPERATURES) == 14
    assert bench.SMALL_PLAN.sequences <= 14 * 32 / 3


@pytest.mark.parametrize(("width", "seconds", "met"), [(0.2, 1.9, True), (0.2, 2.1, False), (0.25, 1.0, False)])
def test_a_width_must_be_reached_in_half_the_time(
    monkeypatch: pytest.MonkeyPatch, width: float, seconds: float, met: bool
) -> None:
    def time_sweep(model: object, plan: SweepPlan) -> bench.TimedSweep:
        return bench.TimedSweep(4.0, 0.2) if plan.width is None else bench.TimedSweep(seconds, width)

    monkeypatch.setattr(bench, "time_sweep", time_sweep)
    line = bench.compare_to_fixed_plan(UrnModel(1.0), PLAN)
    assert line.ratio == pytest.approx(seconds / 4) and line.met is met
    assert ("reached 0.25" in line.name) is (width == 0.25)


def test_an_edge_that_was_not_found_has_no_width(small: PhaseMap, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [replace(edge, temperature=None, interval=None) for edge in small.edges]
    monkeypatch.setattr(bench, "sweep", lambda model, plan: replace(small, edges=lost))
    assert bench.time_sweep(UrnModel(1.0), PLAN).width == math.inf


def test_an_earlier_build_is_asked_for_what_it_knows(
    small: PhaseMap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The earlier build runs the plan, and this one stops at the width that it reached."""
    calls = []
    edges = [{"name": name, "interval": [0.4, 0.65]} for name in ("freeze", "melt")]

    def run_command(source: Path | None, *arguments: str) -> str:
        calls.append((source, arguments))
        return json.dumps({"edges": edges})

    monkeypatch.setattr(bench, "run_command", run_command)
    line = bench.compare_to_earlier(tmp_path, PLAN)
    assert "edges at most 0.25 wide / earlier build, 64 texts" in line.name
    (before, asked), (own, aimed) = calls
    assert before == tmp_path and not {"--raw", "--width=0.25"} & set(asked) and "--sequences=64" in asked
    assert own is None and {"--raw", "--width=0.25"} <= set(aimed)


def test_a_folder_without_sources_is_no_earlier_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(earlier_build.EARLIER_VARIABLE, str(tmp_path))
    with pytest.raises(BadInput, match="holds no src/heatbath"):
        earlier_build.find_earlier_source()
    monkeypatch.delenv(earlier_build.EARLIER_VARIABLE)
    assert earlier_build.find_earlier_source() is None


def test_a_command_of_a_build_fails_in_one_sentence() -> None:
    assert earlier_build.run_command(None, "--version").strip()
    with pytest.raises(HeatbathError, match="`heatbath nonsense` of this build failed"):
        earlier_build.run_command(None, "nonsense")


@pytest.mark.parametrize("advised", [None, (0.6, 0.9)])
def test_fewer_tokens_without_a_range_do_not_count(
    small: PhaseMap, monkeypatch: pytest.MonkeyPatch, advised: tuple[float, float] | None
) -> None:
    map_ = replace(small, advice=replace(small.advice, range=advised))
    monkeypatch.setattr(bench, "sweep", lambda model, plan: map_)
    monkeypatch.setattr(bench, "run_turn", lambda model, plan: (0.8, 14 * 32 * 32))
    line, turn = bench.compare_to_turn(UrnModel(1.0), PLAN)
    assert line.ratio == pytest.approx(64 / 448) and line.met is (advised is not None)
    assert ("no range" in line.name) is (advised is None) and "TURN (T = 0.8)" in line.name
    assert "no turn" in turn.name and not turn.met


def test_a_small_sweep_finds_the_temperature_of_turn() -> None:
    """Independent tokens with a ground state, three states near it and sixty far above: log H turns at 0.9."""
    levels = np.r_[0.0, np.full(3, 1.0), np.full(60, 7.0)]
    model = MarkovModel(np.tile(levels, (64, 1)), levels)
    *_, line = bench.compare_to_turn(model, replace(bench.SMALL_PLAN, length=32, width=None))
    assert line.met and line.ratio == pytest.approx(2 / 7)
    assert line.name == "tokens to TURN's temperature (T = 0.9 to 0.9) / TURN (T = 0.9)"
