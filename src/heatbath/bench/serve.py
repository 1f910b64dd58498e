"""The server under many streams at once: its own overhead, the cost of records, other servers, and an earlier build.

One server runs at a time, a fresh process in every round; the servers of a comparison take turns.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.bench.earlier_build import EARLIER_VARIABLE, build_environment, find_earlier_source
from heatbath.bench.serve_earlier import earlier_lines
from heatbath.bench.serve_hosts import (
    MAX_STREAMS,
    find_peer_python,
    heatbath_server,
    transformers_server,
    vllm_server,
)
from heatbath.bench.serve_load import measure_speed
from heatbath.bench.serve_process import ServerSpec, run_server
from heatbath.bench.serve_rounds import RoundPlan, build_prompt, compare_hosts, measure_hosts
from heatbath.errors import HeatbathError
from heatbath.models.hub import catalog

MODEL = "smollm2-135m"
STREAMS, TOKENS, ROUNDS = (16, MAX_STREAMS), 128, 2
MOCK_STREAMS, PACE, SPREAD = 100, 0.05, 1.0
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
    """Yield the lines of the server.

    Those that need another server or an earlier build are left out where neither is named, with a message; a server
    that fails is named in a line that is missed.
    """
    source = find_earlier_source()
    yield from overhead_lines()
    folder = catalog.pull(MODEL)
    with tempfile.TemporaryDirectory() as work:
        hosts = {"on": build_recording_host(Path(work)), "off": build_plain_host(Path(work))}
        if source is None:
            print(f"left out: the build before ({EARLIER_VARIABLE} is not set)", file=sys.stderr)
        else:
            hosts["before"] = build_earlier_host(Path(work), source)
        try:
            python = find_peer_python()
        except HeatbathError as missing:
            print(f"left out: the comparison with other servers ({missing})", file=sys.stderr)
        else:
            hosts |= {"vllm": vllm_server(python, folder), "transformers": transformers_server(python, folder)}
        for count in STREAMS:
            yield from compare_hosts(measure_hosts(hosts, RoundPlan((count,), TOKENS, ROUNDS)), TOKENS)
    yield from earlier_lines(MODEL)


def build_recording_host(work: Path, model: str = MODEL) -> ServerSpec:
    """Return our server with its defaults, asked for records."""
    return heatbath_server("heatbath", _build_child_spec(work / "on.db", model), {"thermo": {"records": True}})


def build_plain_host(work: Path, model: str = MODEL) -> ServerSpec:
    """Return our server without metrics, asked for text alone."""
    return heatbath_server(
        "heatbath, nothing recorded", _build_child_spec(work / "off.db", model) | {"watched": False}, {}
    )


def build_earlier_host(work: Path, source: Path, model: str = MODEL) -> ServerSpec:
    """Return the server of an earlier build, with its defaults, asked for records."""
    host = heatbath_server(
        "the build before", _build_child_spec(work / "before.db", model), {"thermo": {"records": True}}
    )
    return replace(host, environment=build_environment(source))


def _build_child_spec(database: Path, model: str) -> dict[str, Any]:
    return {
        "settings": {
            "model": {"name": model, "dtype": "bfloat16"},
            "storage": {"url": f"sqlite:///{database}"},
            "engine": {"max_rows": max(STREAMS)},
        }
    }


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
