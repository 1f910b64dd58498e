"""The server against an earlier build of itself: start, memory, and a long prompt that arrives while others run."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.bench.earlier_build import build_environment, find_earlier_source
from heatbath.bench.serve_load import StreamCall, measure_gaps
from heatbath.bench.serve_mix import MixedLoad, request_kinds, run_mixed_load
from heatbath.bench.serve_process import RunningServer, ServerSpec, run_server
from heatbath.bench.serve_rounds import build_calls
from heatbath.errors import HeatbathError
from heatbath.models.hub import catalog

REQUESTS_VARIABLE = "HEATBATH_BENCH_REQUESTS"
"""Environment variable with the number of requests of the mixed load, in place of `REQUESTS`."""
REQUESTS = 5000
STARTS = 3
LONG_PROMPT_TOKENS, GAP_STREAMS, GAP_STREAM_TOKENS = 4000, 16, 512
_SERVE = "import sys; from heatbath.cli.main import main; sys.exit(main(['serve', *sys.argv[1:]]))"
_WORDS = ["the", "sea", "at", "night", "is", "full", "of", "small", "lights", "that", "nobody", "has", "counted"]


def default_server(name: str, model: str, source: Path | None, environment: Mapping[str, str]) -> ServerSpec:
    """Return `heatbath serve` with its default settings, of a build and with further variables."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-c", _SERVE, "--model", model, "--port", str(port)]

    def ask(prompt: str, tokens: int) -> StreamCall:
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "stream": True, "ignore_eos": True}
        return StreamCall("/v1/completions", body | {"stream_options": {"include_usage": True}})

    return ServerSpec(name, command, ask, "/health/ready", {**build_environment(source), **environment})


@dataclass
class BuildFigures:
    """Figures of one build, each a list over processes, or the reason why they are missing."""

    ready: dict[str, list[float]] = field(default_factory=lambda: {"cold": [], "warm": []})
    idle_memory: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    load: MixedLoad | None = None
    failure: dict[str, str] = field(default_factory=dict)


def earlier_lines(model: str, starts: int = STARTS, requests: int | None = None) -> Iterator[BenchmarkLine]:
    """Yield the lines of start, memory and long prompts, against the earlier build where one is named."""
    source = find_earlier_source()
    builds: dict[str, Path | None] = {"ours": None} | ({} if source is None else {"before": source})
    count = int(os.environ.get(REQUESTS_VARIABLE, REQUESTS)) if requests is None else requests
    figures = {name: BuildFigures() for name in builds}
    with tempfile.TemporaryDirectory() as work:
        for number in range(starts):
            for name, place in builds.items():
                folder = Path(work, f"{name}-{number}")
                with _keep_failure(figures[name], "start"):
                    _measure_starts(figures[name], model, place, folder)
        for name, place in builds.items():
            environment = {"HEATBATH_STORAGE__URL": f"sqlite:///{work}/{name}.db"}
            host = default_server(name, model, place, environment)
            with _keep_failure(figures[name], "long prompt"), run_server(host) as server:
                figures[name].gaps = measure_long_prompt(server).tolist()
            with _keep_failure(figures[name], "mixed load"), run_server(host) as server:
                figures[name].load = run_mixed_load(server, request_kinds(model), count)
    yield from compare_builds(figures["ours"], figures.get("before"), count)


@contextlib.contextmanager
def _keep_failure(figures: BuildFigures, part: str) -> Iterator[None]:
    try:
        yield
    except HeatbathError as error:
        figures.failure[part] = " ".join(str(error).split())[-200:]


def _measure_starts(figures: BuildFigures, model: str, source: Path | None, folder: Path) -> None:
    """Start a server with nothing compiled and the weights not in memory, then again with what that has left."""
    caches = {
        "NUMBA_CACHE_DIR": str(folder / "kernels"),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "PYTHONDONTWRITEBYTECODE": "",
        "HEATBATH_STORAGE__URL": f"sqlite:///{folder}/answers.db",
    }
    host = default_server("heatbath", model, source, caches)
    _drop_cached_pages(model)
    for kind in ("cold", "warm"):
        with run_server(host) as server:
            figures.ready[kind].append(server.ready_seconds)
            memory = server.read_memory()
            if kind == "warm":
                figures.idle_memory.append(memory)


def _drop_cached_pages(model: str) -> None:
    """Ask the system to forget the weights' pages, so that a cold start reads them from the disk (Linux)."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in catalog.pull(model).glob("*.safetensors"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_long_prompt(server: RunningServer) -> np.ndarray:
    """Return the gaps of 16 streams' tokens while a prompt of 4,000 tokens is read, seconds."""
    words = (_WORDS * LONG_PROMPT_TOKENS)[:LONG_PROMPT_TOKENS]
    calls = build_calls(server, GAP_STREAMS, GAP_STREAM_TOKENS, 1)
    return measure_gaps(server.port, calls, server.host.build_call(" ".join(words), 4))


def compare_builds(ours: BuildFigures, before: BuildFigures | None, requests: int) -> Iterator[BenchmarkLine]:
    """Yield the lines of both builds: ratios where there is an earlier one, else figures alone."""
    sides = [ours] if before is None else [ours, before]
    failed = [(name, reason) for side in sides for name, reason in side.failure.items()]
    for part, reason in failed:
        yield BenchmarkLine(f"server, {part}: FAILED ({reason})", 0.0, None, "", None, "measured", False)
    yield from _gap_lines(*sides)
    yield from _load_lines(requests, *sides)
    for kind in ("cold", "warm"):
        values = [statistics.median(side.ready[kind]) for side in sides if side.ready[kind]]
        if len(values) == len(sides):
            yield _line(f"time to ready, {kind}", values, limit=0.6, unit="s")
    values = [statistics.median(side.idle_memory) for side in sides if side.idle_memory]
    if len(values) == len(sides):
        yield _line("memory when ready", values, limit=1.0, unit="GB")


def _gap_lines(*sides: BuildFigures) -> Iterator[BenchmarkLine]:
    if not all(side.gaps for side in sides):
        return
    title = f"gap of {GAP_STREAMS} streams' tokens while a {LONG_PROMPT_TOKENS:,}-token prompt is read"
    yield upper_limit_line(f"{title}, longest", max(sides[0].gaps), limit=0.5, unit="s")
    yield _line(f"{title}, p99", [float(np.quantile(side.gaps, 0.99)) for side in sides], limit=0.1, unit="s")


def _load_lines(requests: int, *sides: BuildFigures) -> Iterator[BenchmarkLine]:
    loads = [side.load for side in sides if side.load is not None]
    if len(loads) != len(sides):
        return
    for name, answer in loads[0].wrong.items():
        yield BenchmarkLine(f"mixed load, {name}: answered {answer}", 0.0, None, "", None, "answered", False)
    title = f"{requests:,} mixed requests"
    yield _line(f"peak memory over {title}", [max(load.memory) for load in loads], limit=0.6, unit="GB")
    yield upper_limit_line(f"growth over the second half of {title}", loads[0].slope(), limit=1.0, unit="KB/request")


def _line(title: str, values: list[float], *, limit: float, unit: str) -> BenchmarkLine:
    """Return the line of a ratio to the build before; without one, the figure alone."""
    if len(values) == 2:
        return upper_limit_line(f"{title}, against the build before", values[0], values[1], limit=limit, unit=unit)
    return BenchmarkLine(title, values[0], None, unit, None, "shown", True)
