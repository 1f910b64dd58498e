"""The server under many streams at once: what it adds of its own, what records cost, and how other servers do.

All servers of a comparison run at the same time and are asked in turn; those that are not being asked are halted.
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

from heatbath.bench.base import Line, at_least, at_most
from heatbath.bench.serve_hosts import Host, Running, ours, peer_python, running, transformers, vllm
from heatbath.bench.serve_load import Speed, speed
from heatbath.errors import HeatbathError
from heatbath.models import catalog

MODEL = "smollm2-135m"
STREAMS, TOKENS, ROUNDS = (16, 64), 128, 3
MOCK_STREAMS, PACE, SPREAD = 100, 0.05, 1.0
_TEXT = (
    "the sea at night is full of small lights that nobody has counted and yet every fisher knows how many there are "
    "because they sing a number to one another before they go out and again when they come home so that none is lost"
)
_KEY = "hb-bench"

PARTS = {
    "parse": ["heatbath.serve.api.reading:decoded"],
    "auth": ["heatbath.serve.middleware.access:Admitted.tenant"],
    "template": ["heatbath.serve.api.prompts:chat_prompt", "heatbath.serve.api.prompts:completion_prompts"],
    "encode": ["heatbath.serve.api.completion_stream:CompletionStream.grown"],
    "count": ["heatbath.serve.metrics.meter:Meter.grew"],
    "write": ["uvicorn.protocols.http.httptools_impl:RequestResponseCycle.send"],
    "storage": ["heatbath.serve.storage.store:SqlStore.keep"],
}
"""The server's functions whose calls are timed: once a request, once a token (encode, count, write), once an answer."""


def lines() -> Iterator[Line]:
    """The lines of the server. Those that need another server are left out without one, and a sentence says so."""
    yield from overhead()
    folder = catalog.pull(MODEL)
    with tempfile.TemporaryDirectory() as work:
        hosts = {"on": with_records(Path(work)), "off": without_records(Path(work))}
        try:
            python = peer_python()
        except HeatbathError as missing:
            print(f"left out: the comparison with other servers ({missing})", file=sys.stderr)
        else:
            hosts |= {"vllm": vllm(python, folder), "transformers": transformers(python, folder)}
        yield from compared(measured(hosts, STREAMS, TOKENS, ROUNDS))


def with_records(work: Path, model: str = MODEL) -> Host:
    """Our server as it comes, asked for records."""
    return ours("heatbath", _child(work / "on.db", model), {"thermo": {"records": True}})


def without_records(work: Path, model: str = MODEL) -> Host:
    """Our server without metrics, asked for nothing but text."""
    return ours("heatbath, nothing recorded", _child(work / "off.db", model) | {"watched": False}, {})


def _child(database: Path, model: str) -> dict[str, Any]:
    return {
        "settings": {
            "model": {"name": model, "dtype": "bfloat16"},
            "storage": {"url": f"sqlite:///{database}"},
            "engine": {"max_rows": max(STREAMS)},
        }
    }


def measured(
    hosts: Mapping[str, Host], streams: Sequence[int], tokens: int, rounds: int
) -> dict[int, dict[str, list[Speed]]]:
    """Bursts of so many streams against each server in turn, after one that is not counted.

    A server that does not come up, or breaks, is left out from there on, and a sentence says so.
    """
    found: dict[int, dict[str, list[Speed]]] = {}
    with contextlib.ExitStack() as stack:
        up: dict[str, Running] = {}
        for name, host in hosts.items():
            with _left_out(host):
                up[name] = stack.enter_context(running(host))
                up[name].halt()
        for count in streams:
            found[count] = {name: [] for name in up}
            for turn in range(rounds + 1):
                for name in list(up):
                    with _left_out(up[name].host, partial(up.pop, name)):
                        speed_ = _burst(up[name], count, tokens, turn)
                        found[count][name] += [speed_] if turn else []
    return found


@contextlib.contextmanager
def _left_out(host: Host, drop: Callable[[], object] = lambda: None) -> Iterator[None]:
    try:
        yield
    except HeatbathError as error:
        print(f"left out: {host.name} ({error})", file=sys.stderr)
        drop()


def _burst(server: Running, count: int, tokens: int, turn: int) -> Speed:
    server.go_on()
    try:
        calls = [server.host.ask(prompt(turn * 1009 + i), tokens) for i in range(count)]
        return speed(server.port, calls)
    finally:
        server.halt()


def prompt(number: int) -> str:
    """A text of about 20 to 60 tokens; no two numbers begin alike, so that nothing is found in a prefix cache."""
    words = _TEXT.split()
    start, length = number * 7 % len(words), 16 + number * 11 % 37
    return f"{number} " + " ".join((words * 3)[start : start + length])


def compared(found: Mapping[int, Mapping[str, Sequence[Speed]]]) -> Iterator[Line]:
    """The lines of what `measured` gave: rates are medians over bursts, quantiles those of all streams."""
    for count, by_name in found.items():
        sides = {name: speeds for name, speeds in by_name.items() if speeds}
        if "on" not in sides:
            continue
        rates = {name: statistics.median(each.rate for each in speeds) for name, speeds in sides.items()}
        waits = {name: np.concatenate([each.first for each in speeds]) for name, speeds in sides.items()}
        yield from _lines_of(count, rates, {name: float(np.quantile(wait, 0.95)) for name, wait in waits.items()})


def _lines_of(count: int, rates: Mapping[str, float], waits: Mapping[str, float]) -> Iterator[Line]:
    title, on = f"{count} streams of {TOKENS} tokens, bfloat16, records on", rates["on"]
    if "vllm" in rates:
        yield at_least(f"{title}, against vLLM", on, rates["vllm"], limit=0.8, unit="token/s")
        first = f"{count} streams, time to first token p95, against vLLM"
        yield at_most(first, waits["on"], waits["vllm"], limit=1.0, unit="s")
    if "transformers" in rates:
        yield at_least(f"{title}, against transformers serve", on, rates["transformers"], limit=2.0, unit="token/s")
    if "off" in rates:
        yield at_least(f"{title} and metrics, against neither", on, rates["off"], limit=0.97, unit="token/s")


def overhead(streams: int = MOCK_STREAMS, tokens: int = TOKENS) -> Iterator[Line]:
    """What a client waits for beyond the pace of an engine that only sleeps, and the calls that it goes to.

    A token's share is the time since the one before it (the request, for the first) less the engine's set pace.
    """
    with tempfile.TemporaryDirectory() as work:
        taken = Path(work, "parts.json")
        with running(_paced(Path(work), taken)) as server:
            calls = [server.host.ask(prompt(i), tokens) for i in range(streams)]
            speed(server.port, calls[: streams // 4])
            found = speed(server.port, calls, spread=SPREAD)
            server.stop()
        parts = json.loads(taken.read_text(encoding="utf-8"))
    title = f"own overhead of a token, p95, {streams} streams, engine that sleeps"
    yield at_most(title, 1e3 * float(np.quantile(found.late(PACE), 0.95)), limit=10, unit="ms")
    first = 1e3 * (found.first_token(0.95) - PACE)
    yield at_most(
        f"own overhead of the first token, p95, {streams} streams begun within {SPREAD:g} s", first, limit=10, unit="ms"
    )
    yield from (_part(name, np.asarray(seconds)) for name, seconds in parts.items())


def _part(name: str, seconds: NDArray[np.float64]) -> Line:
    """What calls of a part take: no target of its own, and storage waits for the disk after the last token."""
    title = f"of which {name}, p95 of a call ({len(seconds)}, {seconds.sum():.2g} s in all)"
    return Line(title, 1e3 * float(np.quantile(seconds, 0.95)), None, "ms", None, "shown", True)


def _paced(work: Path, taken: Path) -> Host:
    """Our server with an engine that sleeps, keys, metrics and storage."""
    settings = {
        "model": {"name": "mock"},
        "storage": {"url": f"sqlite:///{work / 'paced.db'}"},
        "keys": {"bench": {"sha256": hashlib.sha256(_KEY.encode()).hexdigest()}},
    }
    child = {"settings": settings, "pace": {"first": PACE, "each": PACE}, "parts": PARTS, "parts_to": str(taken)}
    return ours("heatbath, asleep", child, {"thermo": {"records": True}}, _KEY)
