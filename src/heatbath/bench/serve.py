"""The server under many streams at once: its own overhead, the cost of records, and other servers beside it.

All servers of a comparison run at the same time and are measured in turn, while the others are suspended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line, upper_limit_line
from heatbath.bench.serve_hosts import (
    RunningServer,
    ServerSpec,
    find_peer_python,
    heatbath_server,
    run_server,
    transformers_server,
    vllm_server,
)
from heatbath.bench.serve_load import BurstSpeed, measure_speed
from heatbath.errors import HeatbathError
from heatbath.models.hub import catalog

MODEL = "smollm2-135m"
STREAMS, TOKENS, ROUNDS = (16, 64), 128, 3
MOCK_STREAMS, PACE, SPREAD = 100, 0.05, 1.0
_TEXT = (
    "the sea at night is full of small lights that nobody has counted and yet every fisher knows how many there are "
    "because they sing a number to one another before they go out and again when they come home so that none is lost"
)
_KEY = "hb-bench"

TIMED_FUNCTIONS = {
    "parse": ["heatbath.serve.openai.validation:decode_body"],
    "auth": ["heatbath.serve.http.auth:authenticate"],
    "template": ["heatbath.serve.openai.prompts:chat_prompt", "heatbath.serve.openai.prompts:completion_prompts"],
    "encode": ["heatbath.serve.openai.streaming:StreamWriter.tokens"],
    "count": ["heatbath.serve.telemetry.request_metrics:RequestMetrics.on_tokens"],
    "write": ["uvicorn.protocols.http.httptools_impl:RequestResponseCycle.send"],
    "storage": ["heatbath.serve.storage.store:SqlStore.save"],
}
"""Functions of the server that are timed: called once a request, a token (encode, count, write), or a response."""


def lines() -> Iterator[BenchmarkLine]:
    """Yield the lines of the server; those that need another server are left out without one, with a message."""
    yield from overhead_lines()
    folder = catalog.pull(MODEL)
    with tempfile.TemporaryDirectory() as work:
        hosts = {"on": build_recording_host(Path(work)), "off": build_plain_host(Path(work))}
        try:
            python = find_peer_python()
        except HeatbathError as missing:
            print(f"left out: the comparison with other servers ({missing})", file=sys.stderr)
        else:
            hosts |= {
                "vllm": vllm_server(python, folder),
                "transformers": transformers_server(python, folder),
            }
        yield from compare_hosts(measure_hosts(hosts, STREAMS, TOKENS, ROUNDS))


def build_recording_host(work: Path, model: str = MODEL) -> ServerSpec:
    """Return our server with its defaults, asked for records."""
    return heatbath_server("heatbath", _build_child_spec(work / "on.db", model), {"thermo": {"records": True}})


def build_plain_host(work: Path, model: str = MODEL) -> ServerSpec:
    """Return our server without metrics, asked for text alone."""
    return heatbath_server(
        "heatbath, nothing recorded", _build_child_spec(work / "off.db", model) | {"watched": False}, {}
    )


def _build_child_spec(database: Path, model: str) -> dict[str, Any]:
    return {
        "settings": {
            "model": {"name": model, "dtype": "bfloat16"},
            "storage": {"url": f"sqlite:///{database}"},
            "engine": {"max_rows": max(STREAMS)},
        }
    }


def measure_hosts(
    hosts: Mapping[str, ServerSpec], streams: Sequence[int], tokens: int, rounds: int
) -> dict[int, dict[str, list[BurstSpeed]]]:
    """Measure bursts of so many streams against each server in turn, after one that is not counted.

    A server that does not start, or breaks, is left out from there on, with a message.
    """
    found: dict[int, dict[str, list[BurstSpeed]]] = {}
    with contextlib.ExitStack() as stack:
        up: dict[str, RunningServer] = {}
        for name, host in hosts.items():
            with _skip_on_error(host):
                up[name] = stack.enter_context(run_server(host))
                up[name].suspend()
        for count in streams:
            found[count] = {name: [] for name in up}
            for turn in range(rounds + 1):
                for name in list(up):
                    with _skip_on_error(up[name].host, partial(up.pop, name)):
                        speed_ = _measure_burst(up[name], count, tokens, turn)
                        found[count][name] += [speed_] if turn else []
    return found


@contextlib.contextmanager
def _skip_on_error(host: ServerSpec, drop: Callable[[], object] = lambda: None) -> Iterator[None]:
    try:
        yield
    except HeatbathError as error:
        print(f"left out: {host.name} ({error})", file=sys.stderr)
        drop()


def _measure_burst(server: RunningServer, count: int, tokens: int, turn: int) -> BurstSpeed:
    server.resume()
    try:
        calls = [server.host.build_call(build_prompt(turn * 1009 + i), tokens) for i in range(count)]
        return measure_speed(server.port, calls)
    finally:
        server.suspend()


def build_prompt(number: int) -> str:
    """Return a text of about 20 to 60 tokens; no two numbers begin alike, so that no prefix is found in a cache."""
    words = _TEXT.split()
    start, length = number * 7 % len(words), 16 + number * 11 % 37
    return f"{number} " + " ".join((words * 3)[start : start + length])


def compare_hosts(speeds_by_count: Mapping[int, Mapping[str, Sequence[BurstSpeed]]]) -> Iterator[BenchmarkLine]:
    """Yield the lines of measured speeds: rates are medians over bursts, quantiles those of all streams."""
    for count, by_name in speeds_by_count.items():
        sides = {name: speeds for name, speeds in by_name.items() if speeds}
        if "on" not in sides:
            continue
        rates = {name: statistics.median(each.tokens_per_second for each in speeds) for name, speeds in sides.items()}
        waits = {name: np.concatenate([each.first_token_seconds for each in speeds]) for name, speeds in sides.items()}
        yield from _comparison_lines(
            count, rates, {name: float(np.quantile(wait, 0.95)) for name, wait in waits.items()}
        )


def _comparison_lines(count: int, rates: Mapping[str, float], waits: Mapping[str, float]) -> Iterator[BenchmarkLine]:
    title, on = f"{count} streams of {TOKENS} tokens, bfloat16, records on", rates["on"]
    if "vllm" in rates:
        yield lower_limit_line(f"{title}, against vLLM", on, rates["vllm"], limit=0.8, unit="token/s")
        first = f"{count} streams, time to first token p95, against vLLM"
        yield upper_limit_line(first, waits["on"], waits["vllm"], limit=1.0, unit="s")
    if "transformers" in rates:
        yield lower_limit_line(
            f"{title}, against transformers serve", on, rates["transformers"], limit=2.0, unit="token/s"
        )
    if "off" in rates:
        yield lower_limit_line(f"{title} and metrics, against neither", on, rates["off"], limit=0.97, unit="token/s")


def overhead_lines(streams: int = MOCK_STREAMS, tokens: int = TOKENS) -> Iterator[BenchmarkLine]:
    """Yield the client's delay beyond the pace of an engine that only sleeps, and the calls that cause it.

    A token's share is the time since the one before it (the request, for the first) less the engine's pace.
    """
    with tempfile.TemporaryDirectory() as work:
        taken = Path(work, "parts.json")
        with run_server(_build_paced_host(Path(work), taken)) as server:
            calls = [server.host.build_call(build_prompt(i), tokens) for i in range(streams)]
            measure_speed(server.port, calls[: streams // 4])
            found = measure_speed(server.port, calls, spread=SPREAD)
            server.stop()
        parts = json.loads(taken.read_text(encoding="utf-8"))
    title = f"own overhead of a token, p95, {streams} streams, engine that sleeps"
    yield upper_limit_line(title, 1e3 * float(np.quantile(found.compute_delays(PACE), 0.95)), limit=10, unit="ms")
    first = 1e3 * (found.first_token_quantile(0.95) - PACE)
    yield upper_limit_line(
        f"own overhead of the first token, p95, {streams} streams begun within {SPREAD:g} s", first, limit=10, unit="ms"
    )
    yield from (_part_line(name, np.asarray(seconds)) for name, seconds in parts.items())


def _part_line(name: str, seconds: NDArray[np.float64]) -> BenchmarkLine:
    """Return the time of a part's calls, without a target: storage waits for the disk after the last token."""
    title = f"of which {name}, p95 of a call ({len(seconds)}, {seconds.sum():.2g} s in all)"
    return BenchmarkLine(title, 1e3 * float(np.quantile(seconds, 0.95)), None, "ms", None, "shown", True)


def _build_paced_host(work: Path, timings_path: Path) -> ServerSpec:
    """Return our server with an engine that sleeps, keys, metrics and storage."""
    settings = {
        "model": {"name": "mock"},
        "storage": {"url": f"sqlite:///{work / 'paced.db'}"},
        "keys": {"bench": {"sha256": hashlib.sha256(_KEY.encode()).hexdigest()}},
    }
    child = {
        "settings": settings,
        "pace": {"first": PACE, "each": PACE},
        "parts": TIMED_FUNCTIONS,
        "parts_to": str(timings_path),
    }
    return heatbath_server("heatbath, asleep", child, {"thermo": {"records": True}}, _KEY)
