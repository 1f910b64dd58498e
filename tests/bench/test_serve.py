"""The parts that the serve group's figures rest on, with engines that need no model."""

from __future__ import annotations

import asyncio
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.bench import serve, serve_child, serve_hosts
from heatbath.bench.serve_load import BurstSpeed, ChunkedDecoder, measure_speed
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
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serve_hosts.RunningServer]:
    settings = {
        "model": {"name": "mock"},
        "storage": {"url": f"sqlite:///{tmp_path_factory.mktemp('paced') / 'answers.db'}"},
    }
    host = serve_hosts.heatbath_server("mock", {"settings": settings, "pace": {"first": 0.1, "each": 0.02}}, {})
    with serve_hosts.run_server(host) as server:
        yield server


def test_a_burst_counts_tokens_and_when_they_came(paced: serve_hosts.RunningServer) -> None:
    found = measure_speed(paced.port, [paced.host.build_call(serve.build_prompt(i), 10) for i in range(6)])
    assert len(found.arrivals) == 6
    # Ten tokens, and the chunk with the reason for the end.
    assert all(10 <= len(stream) <= 11 for stream in found.arrivals)
    assert all(0.1 <= first < 10 for first in found.first_token_seconds)
    assert 0 < found.tokens_per_second <= 60 / (0.1 + 9 * 0.02)
    late = found.compute_delays(0.02)
    # The first token is late by what the engine takes for it, those after it only by what is ours.
    assert late.max() >= 0.08 and sum(late < 0.08) >= 6 * 8


def test_a_request_that_is_refused_is_told(paced: serve_hosts.RunningServer) -> None:
    with pytest.raises(ModelError, match="400"):
        measure_speed(paced.port, [paced.host.build_call("x", -1)])


def test_a_halted_server_does_not_run_and_goes_on_after(paced: serve_hosts.RunningServer) -> None:
    status = Path(f"/proc/{paced.process.pid}/status")
    paced.suspend()
    try:
        for _ in range(200):
            if "State:\tT" in status.read_text():
                break
            time.sleep(0.01)
        else:
            raise AssertionError(status.read_text())
    finally:
        paced.resume()
    assert measure_speed(paced.port, [paced.host.build_call("x", 3)]).tokens_per_second > 0


def test_the_overhead_has_a_line_for_the_whole_and_for_each_part() -> None:
    lines = list(serve.overhead_lines(streams=4, tokens=5))
    assert len(lines) == 2 + len(serve.TIMED_FUNCTIONS)
    assert all(line.unit == "ms" and 0 < line.ours < 10_000 for line in lines)


def test_a_server_that_does_not_come_up_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def command(port: int) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such model')"]

    host = serve_hosts.ServerSpec("broken", command, lambda prompt, tokens: pytest.fail("it was asked"))
    assert serve.measure_hosts({"broken": host}, [2], 4, 1) == {2: {}}
    assert "left out: broken" in capsys.readouterr().err


def test_figures_become_lines() -> None:
    def speeds(rate: float, first: float) -> list[BurstSpeed]:
        return [BurstSpeed(rate * factor, [[first], [first]]) for factor in (0.9, 1.0, 5.0)]

    sides = {
        "on": speeds(400, 0.5),
        "off": speeds(410, 0.5),
        "vllm": speeds(500, 0.4),
        "transformers": speeds(100, 9.0),
    }
    rate, first, transformers, records = serve.compare_hosts({16: sides})
    assert (rate.ours, rate.theirs, rate.met) == (400, 500, True)
    assert first.ratio == pytest.approx(1.25) and not first.met
    assert (transformers.ratio, transformers.met) == (4.0, True)
    assert records.ratio == pytest.approx(400 / 410) and records.met
    assert [line.name for line in serve.compare_hosts({16: {"on": sides["on"], "vllm": []}})] == []


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
