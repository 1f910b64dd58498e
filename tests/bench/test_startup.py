"""The startup group measures what it says, without judging this machine."""

from __future__ import annotations

import sys
from itertools import islice

import pytest

from heatbath.bench import startup


def test_the_two_lines_are_in_seconds_of_fresh_processes() -> None:
    lines = list(islice(startup.lines(repeats=1), 2))
    assert [line.name for line in lines] == ["import heatbath", "heatbath --help"]
    assert all(0 < line.ours < 60 and line.unit == "s" for line in lines)
    # The whole process starts an interpreter and prints; the import alone does not.
    assert lines[0].ours < lines[1].ours


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_peak_is_that_of_the_process_alone() -> None:
    ours = bytearray(200_000_000)
    ours[::4096] = b"x" * len(ours[::4096])
    small, large = startup.run_process("pass"), startup.run_process("b = bytearray(100_000_000); b[::4096] = b[::4096]")
    assert small.gigabytes < 0.05 and 0.1 < large.gigabytes < 0.16 and 0 < small.seconds < 60


@pytest.mark.slow
@pytest.mark.weights
def test_a_cold_measurement_is_compared_with_transformers(smollm2_folder: object) -> None:
    lines = list(islice(startup.lines(repeats=2), 2, None))
    assert [line.unit for line in lines] == ["s", "GB"] * 2 + ["s"]
    assert all(line.theirs and line.ours > 0 for line in lines[:4]) and 0 < lines[4].ours < 10
