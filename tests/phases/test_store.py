"""A phase map survives JSON, and a file that is not one is refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.result_file import PHASE_MAP_FORMAT

INTERVALS = {"band", "point_interval"}
CURVE = {"name", "points", "ess", "temperature", "value", "stderr", "response", "response_stderr"} | INTERVALS
EDGE = {"name", "temperature", "interval", "verdict", "estimators"}
LOCATED = {"name", "temperature", "interval", "by_size", "supported", "reason"}
KEYS: dict[str, set[str]] = {
    "": {
        "kind",
        "schema",
        "model",
        "settings",
        "budget",
        "curves",
        "edges",
        "advice",
        "turn",
        "criticality",
        "samples",
    },
    "model": {"model", "fingerprint", "version"},
    "budget": {"sequences", "tokens", "seconds"},
    "curves/0": CURVE,
    "curves/0/points": {"x", "value", "value_stderr", "slope", "slope_stderr"},
    "edges/0": EDGE,
    "edges/0/estimators/0": LOCATED,
    "advice": {"range", "reason", "best", "wrong"},
    "advice/best/0": {
        "way",
        "temperature",
        "interval",
        "temperatures",
        "accuracy",
        "accuracy_stderr",
        "accuracy_interval",
    },
    "advice/wrong/0": {"prompt", "expected", "grader", "temperature", "share_right", "texts"},
    "turn": LOCATED,
    "samples/0": {"temperature", "text", "prompt", "finished", "recommended"},
    "criticality/order": EDGE,
}


def _at(content: Any, path: str) -> Any:
    for step in filter(None, path.split("/")):
        content = content[int(step) if step.isdigit() else step]
    return content


@pytest.fixture
def content(chart: PhaseMap) -> dict[str, Any]:
    return json.loads(json.dumps(PHASE_MAP_FORMAT.dump(chart), allow_nan=False))


@pytest.mark.parametrize("path", KEYS)
def test_the_keys_of_schema_2(content: dict[str, Any], path: str) -> None:
    assert PHASE_MAP_FORMAT.versions[-1] == content["schema"] == 2, "a change of these keys needs a new schema"
    assert set(_at(content, path)) == KEYS[path]


def test_every_bit_comes_back(chart: PhaseMap, tmp_path: Path) -> None:
    PHASE_MAP_FORMAT.save(chart, tmp_path / "phases.json")
    back = PhaseMap.load(tmp_path)
    assert PHASE_MAP_FORMAT.dump(back) == PHASE_MAP_FORMAT.dump(chart)
    assert isinstance(back.curves[0].value, np.ndarray) and back.criticality is not None
    np.testing.assert_array_equal(back.criticality.tau_within, chart.criticality.tau_within)  # type: ignore[union-attr]
    assert back.criticality.lags.dtype == np.int64
    assert back.edges == list(chart.edges), "edges are tuples, floats and int keys again"
    assert back.advice == chart.advice and back.turn == chart.turn and back.model == chart.model


def test_a_map_of_schema_1_is_read_without_what_came_later(
    content: dict[str, Any], chart: PhaseMap, tmp_path: Path
) -> None:
    content["schema"] = 1
    del content["advice"]["wrong"], content["advice"]["best"][0]["accuracy_interval"]
    for sample in content["samples"]:
        del sample["prompt"], sample["finished"], sample["recommended"]
    (tmp_path / "phases.json").write_text(json.dumps(content))
    back = PhaseMap.load(tmp_path)
    assert back.advice.wrong == () and back.advice.best[0].accuracy_interval == ()
    assert back.samples[-1].text == chart.samples[-1].text and back.samples[-1].prompt == ""


def test_nothing_found_comes_back_as_none(edgeless: PhaseMap, tmp_path: Path) -> None:
    PHASE_MAP_FORMAT.save(edgeless, tmp_path / "a.json")
    back = PhaseMap.load(tmp_path / "a.json")
    assert back.criticality is None and back.advice.range is None and back.edge("freeze").interval is None


def test_numbers_that_are_none_of_them_come_back(chart: PhaseMap, tmp_path: Path) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1e-300])
    PHASE_MAP_FORMAT.save(replace(chart, curves=[replace(chart.curves[0], ess=odd)]), tmp_path / "a.json")
    assert "NaN" not in (tmp_path / "a.json").read_text()
    np.testing.assert_array_equal(PhaseMap.load(tmp_path / "a.json").curves[0].ess, odd)


def _broken(content: dict[str, Any], how: str) -> str:
    if how == "another schema":
        content["schema"] = 3
    elif how == "another file":
        content["kind"] = "trace"
    elif how == "lacks":
        del content["budget"]["tokens"]
    elif how == "unknown":
        content["turn"]["colour"] = "red"
    elif how == "not an object":
        content["curves"][0] = 3
    elif how == "no number":
        content["curves"][0]["value"] = ["a"]
    elif how == "too long":
        content["edges"][0]["interval"] = [1, 2, 3]
    elif how == "a list":
        return "[]"
    return json.dumps(content)[: 100 if how == "cut off" else None]


BROKEN = {
    "another schema": "schema 3",
    "another file": "not a phase map",
    "a list": "not a phase map",
    "cut off": "not valid JSON",
    "lacks": "lacks tokens",
    "unknown": "unknown colour",
    "not an object": "not an object",
    "no number": "damaged",
    "too long": "damaged",
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_phase_map_is_refused(how: str, content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "phases.json").write_text(_broken(content, how), encoding="utf-8")
    with pytest.raises(BadInput, match=BROKEN[how]) as caught:
        PhaseMap.load(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no file"):
        PhaseMap.load(tmp_path)


def test_a_failed_write_leaves_what_was_there(chart: PhaseMap, tmp_path: Path) -> None:
    path = tmp_path / "phases.json"
    path.write_text("before")
    with pytest.raises(TypeError):
        PHASE_MAP_FORMAT.save(replace(chart, settings={"plan": object()}), path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
