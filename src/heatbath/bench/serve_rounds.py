"""Bursts of streams against servers in turn: one server at a time, a fresh process in every round."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line, upper_limit_line
from heatbath.bench.serve_load import BurstSpeed, StreamCall, measure_speed
from heatbath.bench.serve_process import RunningServer, ServerSpec, run_server
from heatbath.errors import HeatbathError

_TEXT = (
    "the sea at night is full of small lights that nobody has counted and yet every fisher knows how many there are "
    "because they sing a number to one another before they go out and again when they come home so that none is lost"
)
_WARM_TOKENS = 8


@dataclass(frozen=True)
class RoundPlan:
    """In each of `rounds`, for each number of `streams`: `bursts` of that many streams of `tokens` tokens."""

    streams: Sequence[int]
    tokens: int
    rounds: int
    bursts: int = 2


@dataclass
class HostFigures:
    """Figures of one server at one number of streams, over all rounds.

    Attributes:
        speeds: one for each burst.
        memory: GB of all processes of the server after the bursts, one for each round.
        ready: seconds until the server was ready, one for each round.
        failure: the reason if it did not start or broke; then there may be figures of earlier rounds.
    """

    name: str
    speeds: list[BurstSpeed] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def rate(self) -> float:
        """The median over bursts of tokens per second."""
        return statistics.median(speed.tokens_per_second for speed in self.speeds)

    @property
    def first_token(self) -> float:
        """The 95 % quantile over all streams of the time to the first token, seconds."""
        return float(np.quantile(np.concatenate([speed.first_token_seconds for speed in self.speeds]), 0.95))


FiguresByCount = dict[int, dict[str, HostFigures]]


def measure_hosts(hosts: Mapping[str, ServerSpec], plan: RoundPlan) -> FiguresByCount:
    """Measure bursts against each server in turn, in every round, each time in a fresh process.

    A server that does not start or breaks is not asked for as many streams again, and its figures hold the reason.
    """
    found: FiguresByCount = {}
    for count in plan.streams:
        found[count] = {name: HostFigures(host.name) for name, host in hosts.items()}
        for number in range(plan.rounds):
            for name, host in hosts.items():
                if found[count][name].failure is None:
                    _run_round(host, found[count][name], plan, (count, number))
    return found


def _run_round(host: ServerSpec, figures: HostFigures, plan: RoundPlan, place: tuple[int, int]) -> None:
    """Run one burst that is not counted, then those of the plan, for a number of streams and a number of the round."""
    count, number = place
    first = number * (plan.bursts + 1)
    try:
        with run_server(host) as server:
            measure_speed(server.port, build_calls(server, count, _WARM_TOKENS, first))
            for burst in range(1, plan.bursts + 1):
                figures.speeds.append(
                    measure_speed(server.port, build_calls(server, count, plan.tokens, first + burst))
                )
            figures.memory.append(server.read_memory())
            figures.ready.append(server.ready_seconds)
    except HeatbathError as error:
        figures.failure = str(error)


def build_calls(server: RunningServer, count: int, tokens: int, burst: int) -> list[StreamCall]:
    """Return calls with prompts of their own for each number of a burst."""
    return [server.host.build_call(build_prompt(burst * 1009 + i), tokens) for i in range(count)]


def build_prompt(number: int) -> str:
    """Return a text of about 20 to 60 tokens; no two numbers begin alike, so that no prompt is found in a cache."""
    words = _TEXT.split()
    start, length = number * 7 % len(words), 16 + number * 11 % 37
    return f"{number} " + " ".join((words * 3)[start : start + length])


def compare_hosts(found: FiguresByCount, tokens: int) -> Iterator[BenchmarkLine]:
    """Yield the lines of our server with records, named "on", against all others that were measured."""
    for count, by_name in found.items():
        ours = by_name["on"]
        title = f"{count} streams of {tokens} tokens, bfloat16, records on"
        if ours.failure is not None:
            yield _failure_line(title, ours)
            continue
        for name, theirs in by_name.items():
            if name == "on":
                continue
            if theirs.failure is not None:
                yield _failure_line(f"{title}, against {theirs.name}", theirs, ours)
            else:
                yield from _COMPARISONS[name]((count, title), ours, theirs)


def _failure_line(title: str, failed: HostFigures, ours: HostFigures | None = None) -> BenchmarkLine:
    """Return a line that is missed, since nothing shows that its target is met: a server failed, and why."""
    reason = " ".join((failed.failure or "").split())[-160:]
    rate = 0.0 if ours is None else ours.rate
    return BenchmarkLine(f"{title}: {failed.name} FAILED ({reason})", rate, None, "token/s", None, "compared", False)


def _compare_with_vllm(case: tuple[int, str], ours: HostFigures, theirs: HostFigures) -> Iterator[BenchmarkLine]:
    count, title = case
    yield lower_limit_line(f"{title}, against vLLM", ours.rate, theirs.rate, limit=1.3, unit="token/s")
    first = f"{count} streams, time to first token p95, against vLLM"
    yield upper_limit_line(first, ours.first_token, theirs.first_token, limit=0.8, unit="s")
    memory, ready = (statistics.median(values) for values in (ours.memory, ours.ready))
    if memory:
        limit = statistics.median(theirs.memory)
        yield upper_limit_line(f"memory after {count} streams, against vLLM", memory, limit, limit=1.0, unit="GB")
    yield upper_limit_line("time to ready, against vLLM", ready, statistics.median(theirs.ready), limit=1.0, unit="s")


def _compare_with_transformers(
    case: tuple[int, str], ours: HostFigures, theirs: HostFigures
) -> Iterator[BenchmarkLine]:
    title = f"{case[1]}, against transformers serve"
    yield lower_limit_line(title, ours.rate, theirs.rate, limit=2.0, unit="token/s")


def _compare_with_plain(case: tuple[int, str], ours: HostFigures, theirs: HostFigures) -> Iterator[BenchmarkLine]:
    title = f"{case[1]} and metrics, against neither"
    yield lower_limit_line(title, ours.rate, theirs.rate, limit=0.97, unit="token/s")


def _compare_with_earlier(case: tuple[int, str], ours: HostFigures, theirs: HostFigures) -> Iterator[BenchmarkLine]:
    title = f"{case[1]}, against the build before"
    yield lower_limit_line(title, ours.rate, theirs.rate, limit=1.0, unit="token/s")


_COMPARISONS = {
    "vllm": _compare_with_vllm,
    "transformers": _compare_with_transformers,
    "off": _compare_with_plain,
    "before": _compare_with_earlier,
}
