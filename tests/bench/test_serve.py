"""The parts that the serve group's figures rest on, with engines that need no model."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.bench import (
    earlier_build,
    serve,
    serve_child,
    serve_earlier,
    serve_hosts,
    serve_mix,
    serve_process,
    serve_rounds,
)
from heatbath.bench.serve_load import BurstSpeed, ChunkedDecoder, measure_gaps, measure_speed
from heatbath.errors import BadInput, ModelError

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunked(body: bytes, sizes: list[int]) -> bytes:
    parts, rest = [], body
    for size in [*sizes, len(body)]:
        part, rest = rest[:size], rest[size:]
        if part:
            parts.append(b"%x\r\n%b\r\n" % (len(part), part))
    return HEAD + b"".join(parts) + b"0\r\n\r\n"


@given(st.lists(st.binary(max_size=30).filter(lambda event: b"\n" not in event)), st.data())
def test_events_are_the_same_however_bytes_are_cut(events: list[bytes], data: st.DataObject) -> None:
    cut = st.lists(st.integers(1, 40), max_size=20)
    raw = _chunked(b"".join(event + b"\n\n" for event in events), data.draw(cut))
    unfolder, found = ChunkedDecoder(), list[bytes]()
    for size in [*data.draw(cut), len(raw)]:
        part, raw = raw[:size], raw[size:]
        found += unfolder.feed(part)
    assert found == events and unfolder.status == 200 and unfolder.remainder == b""


def test_a_response_that_is_no_stream_is_kept() -> None:
    unfolder = ChunkedDecoder()
    assert unfolder.feed(b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nhello") == []
    assert (unfolder.status, unfolder.remainder) == (503, b"hello")


@pytest.fixture(scope="module")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serve_process.RunningServer]:
    settings = {
        "model": {"name": "mock"},
        "storage": {"url": f"sqlite:///{tmp_path_factory.mktemp('paced') / 'answers.db'}"},
    }
    host = serve_hosts.heatbath_server("mock", {"settings": settings, "pace": {"first": 0.1, "each": 0.02}}, {})
    with serve_process.run_server(host) as server:
        yield server


def test_a_burst_counts_tokens_and_when_they_came(paced: serve_process.RunningServer) -> None:
    found = measure_speed(paced.port, [paced.host.build_call(serve.build_prompt(i), 10) for i in range(6)])
    assert len(found.arrivals) == 6
    # Ten tokens, and the chunk with the reason for the end.
    assert all(10 <= len(stream) <= 11 for stream in found.arrivals)
    assert all(0.1 <= first < 10 for first in found.first_token_seconds)
    assert 0 < found.tokens_per_second <= 60 / (0.1 + 9 * 0.02)
    late = found.compute_delays(0.02)
    # The first token is late by what the engine takes for it, those after it only by what is ours.
    assert late.max() >= 0.08 and sum(late < 0.08) >= 6 * 8


def test_a_request_that_is_refused_is_told(paced: serve_process.RunningServer) -> None:
    with pytest.raises(ModelError, match="400"):
        measure_speed(paced.port, [paced.host.build_call("x", -1)])


def test_gaps_are_those_while_a_late_prompt_is_read(paced: serve_process.RunningServer) -> None:
    streams = [paced.host.build_call(serve.build_prompt(i), 20) for i in range(3)]
    gaps = measure_gaps(paced.port, streams, paced.host.build_call("late", 2))
    # The first token of the late call comes after 0.1 s: 5 paces of 0.02 s, with those at its ends.
    assert 3 * 4 <= len(gaps) <= 3 * 8 and 0.01 < np.median(gaps) < 0.1
    with pytest.raises(ModelError, match="400"):
        measure_gaps(paced.port, streams, paced.host.build_call("late", -1))
    with pytest.raises(ModelError, match="ended before"):
        measure_gaps(paced.port, [paced.host.build_call("short", 1)], paced.host.build_call("late", 2))


def test_a_mixed_load_reports_memory_and_what_was_answered_wrongly(paced: serve_process.RunningServer) -> None:
    kinds = serve_mix.request_kinds("mock")
    chosen = {name: kinds[name] for name in ("chat", "chat stream with records", "refused", "models")}
    load = serve_mix.run_mixed_load(paced, chosen | {"odd": serve_mix.RequestKind("/nowhere", None)}, 20)
    assert list(load.wrong) == ["odd"] and load.wrong["odd"].startswith("404")
    assert len(load.counts) == len(load.memory) > 5 and min(load.memory) > 0.01


@given(st.floats(-50, 50), st.floats(0.1, 9))
def test_the_slope_of_a_load_is_in_kilobytes_for_each_request(slope: float, start: float) -> None:
    counts = list(range(0, 1000, 10))
    # The first half grows otherwise, and does not count.
    memory = [start + slope * count * 1e-6 + (0.3 if count < 500 else 0.0) for count in counts]
    assert serve_mix.MixedLoad(counts, memory).slope() == pytest.approx(slope, abs=1e-3)


def test_the_overhead_has_a_line_for_the_whole_and_for_each_part() -> None:
    lines = list(serve.overhead_lines(streams=4, tokens=5))
    assert len(lines) == 2 + len(serve.TIMED_FUNCTIONS)
    assert all(line.unit == "ms" and 0 < line.ours < 10_000 for line in lines)


def test_a_server_that_fails_is_named_in_the_lines() -> None:
    def command(port: int) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such model')"]

    host = serve_process.ServerSpec("broken", command, lambda prompt, tokens: pytest.fail("it was asked"))
    found = serve_rounds.measure_hosts({"vllm": host}, serve_rounds.RoundPlan([2], 4, 2))
    assert "no such model" in str(found[2]["vllm"].failure) and not found[2]["vllm"].ready
    found[2]["on"] = _figures("heatbath", 400, 0.5)
    (line,) = serve_rounds.compare_hosts(found, 4)
    assert "broken FAILED" in line.name and "no such model" in line.name and not line.met and line.ours == 400


def _figures(name: str, rate: float, first: float, memory: float = 1.0, ready: float = 5.0) -> serve_rounds.HostFigures:
    speeds = [BurstSpeed(rate * factor, [[first], [first]]) for factor in (0.9, 1.0, 5.0)]
    return serve_rounds.HostFigures(name, speeds, [memory], [ready])


def test_figures_become_lines() -> None:
    sides = {
        "on": _figures("heatbath", 400, 0.5),
        "off": _figures("heatbath", 410, 0.5),
        "before": _figures("before", 390, 0.5),
        "vllm": _figures("vLLM", 500, 0.4, 4.0, 50.0),
        "transformers": _figures("transformers serve", 100, 9.0),
    }
    records, before, rate, first, memory, ready, transformers = serve_rounds.compare_hosts({16: sides}, 128)
    assert (rate.ours, rate.theirs, rate.met) == (400, 500, False)
    assert first.ratio == pytest.approx(1.25) and not first.met
    assert (memory.ratio, ready.ratio) == (0.25, 0.1)
    assert (transformers.ratio, transformers.met) == (4.0, True)
    assert records.ratio == pytest.approx(400 / 410) and records.met
    assert before.ratio == pytest.approx(400 / 390)


def test_builds_become_lines() -> None:
    def figures(scale: float) -> serve_earlier.BuildFigures:
        load = serve_mix.MixedLoad([0, 50, 100], [scale, scale, scale], {})
        return serve_earlier.BuildFigures({"cold": [9 * scale], "warm": [scale]}, [scale], [0.01, 4 * scale], load)

    ours, before = figures(1.0), figures(2.0)
    lines = list(serve_earlier.compare_builds(ours, before, 100))
    assert [line.ratio for line in lines] == [None, pytest.approx(0.5, rel=0.01), 0.5, None, 0.5, 0.5, 0.5]
    alone = list(serve_earlier.compare_builds(ours, None, 100))
    assert len(alone) == len(lines) and all(line.theirs is None for line in alone)
    before.failure["mixed load"], before.load = "it broke", None
    named = [line.name for line in serve_earlier.compare_builds(ours, before, 100)]
    assert any("it broke" in name for name in named) and not any("peak" in name for name in named)


def test_the_build_before_is_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(earlier_build.EARLIER_VARIABLE, raising=False)
    assert earlier_build.find_earlier_source() is None
    monkeypatch.setenv(earlier_build.EARLIER_VARIABLE, str(tmp_path))
    with pytest.raises(BadInput, match="checkout"):
        earlier_build.find_earlier_source()
    root = Path(__file__).parents[2]
    monkeypatch.setenv(earlier_build.EARLIER_VARIABLE, str(root))
    assert earlier_build.find_earlier_source() == root / "src"


def test_prompts_do_not_begin_alike() -> None:
    prompts = [serve.build_prompt(i) for i in range(300)]
    assert len({prompt.split(" ")[0] for prompt in prompts}) == 300
    lengths = [len(prompt.split()) for prompt in prompts]
    assert min(lengths) >= 16 and max(lengths) <= 60 and len(set(lengths)) > 20


def test_without_another_python_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(serve_hosts.PEER_VARIABLE, raising=False)
    with pytest.raises(BadInput, match=r"tools/vllm_env\.sh"):
        serve_hosts.find_peer_python()
    monkeypatch.setenv(serve_hosts.PEER_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(BadInput, match="no file"):
        serve_hosts.find_peer_python()


def test_a_clock_sees_every_call_wherever_a_function_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    holder, other = types.ModuleType("heatbath.serve.holder"), types.ModuleType("heatbath.serve.other")

    def double(x: int) -> int:
        return 2 * x

    async def later(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    members: dict[str, Any] = {"double": double, "later": later}
    vars(holder).update(members)
    vars(other).update(members)
    monkeypatch.setitem(sys.modules, holder.__name__, holder)
    monkeypatch.setitem(sys.modules, other.__name__, other)
    taken = serve_child.time_calls({"a": ["heatbath.serve.holder:double"], "b": ["heatbath.serve.holder:later"]})
    assert (vars(other)["double"](3), vars(holder)["double"](4)) == (6, 8)
    assert asyncio.run(vars(other)["later"](5)) == 5
    assert len(taken["a"]) == 2 and len(taken["b"]) == 1 and taken["b"][0] >= 0.01
