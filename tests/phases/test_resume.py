"""A sweep that is killed goes on to the same result."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from heatbath.errors import BadInput
from heatbath.models import UrnModel
from heatbath.phases import SweepPlan, sweep
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.phase_map_data import Budget
from heatbath.phases.result_file import PHASE_MAP_FORMAT

PLAN = SweepPlan(low=0.4, high=2.0, length=64, sequences=240, batch=40, anchors=8, seed=3)
RUN = """
import sys, time
from heatbath.models import UrnModel
from heatbath.phases import SweepPlan, sweep
plan = SweepPlan(low=0.4, high=2.0, length=64, sequences=240, batch=40, anchors=8, seed=3)
def wait(done, total):
    print(done, flush=True)
    time.sleep(0.2)
sweep(UrnModel(1.0), plan=plan, out=sys.argv[1], progress=wait)
"""


def found(chart: PhaseMap) -> str:
    """Everything but the seconds it took."""
    return json.dumps(PHASE_MAP_FORMAT.dump(replace(chart, budget=Budget(0, 0, 0.0))), sort_keys=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhaseMap]:
    """The folder of a sweep by the plan that nobody killed, and its map."""
    folder = tmp_path_factory.mktemp("small")
    return folder, sweep(UrnModel(1.0), plan=PLAN, out=folder)


def test_a_killed_sweep_resumes_to_the_same_map(small: tuple[Path, PhaseMap], tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 120:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    there = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "traces").glob("batch-*.parquet")}
    assert 3 <= len(there) < 6
    time.sleep(0.01)
    resumed = sweep(UrnModel(1.0), plan=PLAN, out=tmp_path)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "traces").glob("batch-*.parquet")}
    assert len(kept) == 6 and all(kept[name] == when for name, when in there.items())
    assert found(resumed) == found(small[1])


def test_a_folder_with_another_sweep_is_refused(small: tuple[Path, PhaseMap]) -> None:
    with pytest.raises(BadInput, match="another sweep"):
        sweep(UrnModel(1.0), plan=replace(PLAN, seed=4), out=small[0])
    with pytest.raises(BadInput, match="another sweep"):
        sweep(UrnModel(2.0), plan=PLAN, out=small[0])


@pytest.mark.parametrize("source", ["another place", "another sweep", "no sweep", "half a file"])
def test_a_resume_proves_that_each_batch_is_its_own(small: tuple[Path, PhaseMap], tmp_path: Path, source: str) -> None:
    from heatbath.record import read_traces, write_traces

    folder = Path(shutil.copytree(small[0], tmp_path / "copy"))
    batch = folder / "traces" / "batch-0001.parquet"
    if source == "another place":
        shutil.copy(batch.with_name("batch-0002.parquet"), batch)
    elif source == "another sweep":
        sweep(UrnModel(1.0), plan=replace(PLAN, seed=4, sequences=80), out=tmp_path / "other")
        shutil.copy(tmp_path / "other" / "traces" / "batch-0001.parquet", batch)
    elif source == "no sweep":
        write_traces(batch, read_traces(batch))
    else:
        batch.write_bytes(batch.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"batch-0001.parquet (is not this batch|cannot be read)") as caught:
        sweep(UrnModel(1.0), plan=PLAN, out=folder)
    assert str(caught.value).count("\n") == 0


def test_a_larger_budget_goes_on_from_the_smaller_one(small: tuple[Path, PhaseMap], tmp_path: Path) -> None:
    folder = shutil.copytree(small[0], tmp_path / "larger")
    more = replace(PLAN, sequences=320)
    assert found(sweep(UrnModel(1.0), plan=more, out=folder)) == found(sweep(UrnModel(1.0), plan=more))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"low": 0.05}, "low"),
        ({"high": 4.0}, "high"),
        ({"length": 100}, "multiple of 16"),
        ({"sequences": 40}, "two batches"),
        ({"sequences": 250}, "multiple"),
        ({"anchors": 3}, "at least 6 temperatures"),
        ({"temperatures": (0.5, float("nan"), 1, 1.2, 1.4, 1.6)}, "temperature"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_one_sentence(change: dict[str, float], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        sweep(UrnModel(1.0), plan=replace(PLAN, **change))
    assert "\n" not in str(caught.value)
