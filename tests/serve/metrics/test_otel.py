"""Spans and metrics as the conventions for generative models name them; nothing blocks when nobody takes them."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from heatbath.engine.base import TokensGenerated
from heatbath.errors import MissingExtra
from heatbath.installation import install_command
from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry import otel
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.otel import conventions

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from heatbath.serve.telemetry.otel import export
from heatbath.serve.telemetry.otel.spans import SpanOptions, TraceContextMiddleware

LABELS = Labels(["smollm2-135m"], {"gpt-4o": "smollm2-135m"})
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Kept:
    """Telemetry whose spans and metrics stay here."""

    def __init__(self, wanted: SpanOptions) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracing = export.build_providers(SimpleSpanProcessor(self._spans), self._reader, LABELS, wanted)
        self.watcher = self.tracing.observer

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    def points(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        assert data is not None
        [resource] = data.resource_metrics
        [scope] = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}

    def ask(
        self, ticket: RequestInfo, answered: RequestOutcome, grown: Callable[..., TokensGenerated], tokens: int = 5
    ) -> None:
        self.watcher.on_start(ticket)
        for _ in range(tokens):
            self.watcher.on_tokens(ticket, grown())
        self.watcher.on_finish(answered)


@pytest.fixture
def kept() -> Kept:
    return Kept(SpanOptions(address="127.0.0.1", port=8000))


SETTINGS = {
    "temperature": 0.7,
    "top_p": 1,
    "top_k": 40,
    "max_tokens": 64,
    "seed": 3,
    "n": 2,
    "stop": "END",
    "user": "somebody",
}
SUMMARY = [
    {"surprisal": 0.5, "entropy": 1.0, "heat_capacity": 2.0, "n": 5, "logprob": -3.0, "work": {"bias": 0.25}},
    {
        "surprisal": 1.5,
        "entropy": None,
        "heat_capacity": 4.0,
        "temperature": [1.0, 1.0],
        "n": 7,
        "logprob": -6.0,
        "edge": "inside",
    },
]


def test_the_span_of_a_request(
    kept: Kept,
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    grown: Callable[..., TokensGenerated],
) -> None:
    one = ticket(model="gpt-4o", started_at=time.monotonic() - 1.0, settings=SETTINGS)
    kept.ask(one, answered(one, summary=SUMMARY, finish_reasons=["stop", "length"]), grown)
    [span] = kept.spans
    assert (span.name, span.kind.name, span.status.status_code.name) == ("chat gpt-4o", "INTERNAL", "UNSET")
    assert span.end_time - span.start_time == 500_000_000
    assert abs(time.time_ns() - 1e9 - span.start_time) < 5e8
    attributes = dict(span.attributes)
    assert math.isnan(attributes["thermo.entropy.mean"][1])
    assert {**attributes, "thermo.entropy.mean": None} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "heatbath",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": False,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 40.0,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.seed": 3,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "chatcmpl-r1",
        "gen_ai.response.model": "smollm2-135m",
        "gen_ai.response.finish_reasons": ("stop", "length"),
        "gen_ai.response.time_to_first_chunk": 0.03,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "server.address": "127.0.0.1",
        "server.port": 8000,
        "thermo.surprisal.mean": (0.5, 1.5),
        "thermo.entropy.mean": None,
        "thermo.heat_capacity.mean": (2.0, 4.0),
        "thermo.tokens": (5.0, 7.0),
        "thermo.logprob": (-3.0, -6.0),
        "thermo.work.bias": pytest.approx((0.25, math.nan), nan_ok=True),
    }


def test_the_newest_names_are_used_where_they_differ(
    ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], grown: Callable[..., TokensGenerated]
) -> None:
    old, new = Kept(SpanOptions()), Kept(SpanOptions(use_latest=True))
    for kept in (old, new):
        kept.ask(ticket(settings=SETTINGS), answered(ticket()), grown)
    before, after = (dict(kept.spans[0].attributes) for kept in (old, new))
    assert after.keys() - before.keys() == {"gen_ai.usage.text.input_tokens", "gen_ai.usage.text.output_tokens"}
    assert (type(before[conventions.TOP_K]), type(after[conventions.TOP_K])) == (float, int)


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [("/v1/completions", "text_completion"), ("/v1/responses", "chat"), ("/tokenize", None), ("/nowhere", None)],
)
def test_the_operation_is_that_of_the_endpoint(
    kept: Kept,
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    grown: Callable[..., TokensGenerated],
    endpoint: str,
    operation: str | None,
) -> None:
    one = ticket(endpoint=endpoint)
    kept.ask(one, answered(one), grown)
    assert [span.name for span in kept.spans] == ([f"{operation} smollm2-135m"] if operation else [])


def test_an_error_has_its_type(
    kept: Kept,
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    grown: Callable[..., TokensGenerated],
) -> None:
    for i, error in enumerate(["deadline_exceeded", "anything at all", None]):
        one = ticket(f"r{i}")
        kept.ask(one, answered(one, status=504, error=error), grown)
    assert [span.attributes["error.type"] for span in kept.spans] == ["deadline_exceeded", "anything at all", "504"]
    assert {span.status.status_code.name for span in kept.spans} == {"ERROR"}
    points = kept.points()
    assert {point.attributes["error.type"]: point.count for point in points["gen_ai.server.request.duration"]} == {
        "deadline_exceeded": 1,
        "other": 2,
    }
    assert "gen_ai.server.time_to_first_token" not in points


def test_the_metrics_of_the_conventions(
    kept: Kept,
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    grown: Callable[..., TokensGenerated],
) -> None:
    for i in range(3):
        one = ticket(f"r{i}", model="gpt-4o")
        kept.ask(one, answered(one), grown, tokens=5 if i else 1)
    points = kept.points()
    expected = {
        "gen_ai.server.request.duration": (
            3,
            (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
        ),
        "gen_ai.server.time_to_first_token": (
            3,
            (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        ),
        "gen_ai.server.time_per_output_token": (
            2,
            (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
        ),
    }
    assert {name: (point.count, tuple(point.explicit_bounds)) for name, [point] in points.items()} == expected
    [duration] = points["gen_ai.server.request.duration"]
    assert duration.sum == pytest.approx(1.5)
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "heatbath",
        "gen_ai.request.model": "smollm2-135m",
        "gen_ai.response.model": "smollm2-135m",
        "server.address": "127.0.0.1",
        "server.port": 8000,
    }


CHAT = {"messages": [{"role": "user", "content": "Hi \ud800"}], "answers": ["Hello."]}


@pytest.mark.parametrize(
    ("content", "said", "told"),
    [
        (CHAT, [("user", "Hi ?")], ["Hello."]),
        ({"prompt": "Once", "answers": [{"text": " upon"}]}, [("user", "Once")], [" upon"]),
        ({"prompt": ["Once", "And"], "answers": [" upon"]}, [("user", "Once"), ("user", "And")], [" upon"]),
    ],
)
def test_content_is_there_only_if_asked_for(
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    grown: Callable[..., TokensGenerated],
    content: Mapping[str, Any],
    said: list[tuple[str, str]],
    told: list[str],
) -> None:
    silent, telling = Kept(SpanOptions()), Kept(SpanOptions(include_content=True))
    for kept in (silent, telling):
        kept.ask(ticket(), answered(ticket(), content=content), grown)
    assert not any("messages" in name for name in silent.spans[0].attributes)
    asked, answers = (
        json.loads(telling.spans[0].attributes[name])
        for name in (conventions.INPUT_MESSAGES, conventions.OUTPUT_MESSAGES)
    )
    assert [(message["role"], message["parts"][0]["content"]) for message in asked] == said
    assert [message["parts"] for message in answers] == [[{"type": "text", "content": text}] for text in told]
    assert [message["finish_reason"] for message in answers] == ["stop"]


def test_what_was_not_kept_is_not_sent(
    ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], grown: Callable[..., TokensGenerated]
) -> None:
    kept = Kept(SpanOptions(include_content=True))
    kept.ask(ticket(), answered(ticket()), grown)
    assert conventions.INPUT_MESSAGES not in kept.spans[0].attributes


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("true", True),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("event_only", False),
        ("no_content", False),
        ("", False),
    ],
)
def test_the_environment_says_whether_content_is_sent(
    monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool
) -> None:
    monkeypatch.setenv(conventions.CAPTURE, value)
    assert otel.wants_content() == wanted


def test_the_environment_says_which_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not otel.wants_latest()
    monkeypatch.setenv(conventions.OPT_IN, "http, gen_ai_latest_experimental")
    assert otel.wants_latest()


@pytest.mark.parametrize("header", [f"00-{TRACE}-{PARENT}-01", "00-zz-nonsense", "", None])
def test_the_trace_is_that_of_the_header(
    kept: Kept, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], header: str | None
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept.watcher.on_start(ticket())
        kept.watcher.on_finish(answered())

    async def run() -> None:
        headers = [(b"host", b"x")] + ([(b"traceparent", header.encode())] if header is not None else [])
        await asyncio.gather(
            *(TraceContextMiddleware(app)({"type": "http", "headers": headers}, None, None) for _ in range(1))
        )  # type: ignore[arg-type]
        await TraceContextMiddleware(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    asyncio.run(run())
    inside, outside = kept.spans
    if header and TRACE in header:
        assert f"{inside.context.trace_id:032x}" == TRACE
        assert inside.parent is not None and f"{inside.parent.span_id:016x}" == PARENT
    else:
        assert inside.parent is None
    assert outside.parent is None


def _wait_for_closers() -> None:
    """What they still have to log must not be logged in another test."""
    for thread in threading.enumerate():
        if thread.name == export.CLOSE_THREAD_NAME:
            thread.join(20)


class Collector:
    """An OTLP/HTTP collector that keeps what it gets; `hangs` takes requests and never answers."""

    def __init__(self, hangs: bool = False) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if hangs:
                    outer.released.wait(60)
                    self.send_error(400)  # not to be tried again
                    return
                outer.got.append((self.path, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        _wait_for_closers()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    made = Collector(hangs=getattr(request, "param", False))
    yield made
    made.close()


def _serve(
    url: str, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], count: int
) -> tuple[float, float]:
    """Seconds that the longest call of the watcher took, and that the end took."""
    tracing = otel.build_tracing(url, ["smollm2-135m"])
    longest = 0.0

    async def run() -> float:
        nonlocal longest
        async with tracing.close_on_exit():
            for i in range(count):
                one = ticket(f"r{i}", settings={"seed": 1 << 70})
                began = time.perf_counter()
                tracing.observer.on_start(one)
                tracing.observer.on_finish(answered(one))
                longest = max(longest, time.perf_counter() - began)
            ending = time.perf_counter()
        return time.perf_counter() - ending

    return longest, asyncio.run(run())


def test_a_collector_gets_all_of_it(
    collector: Collector, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome]
) -> None:
    _serve(collector.url + "/", ticket, answered, 700)
    spans = [
        span
        for path, body in collector.got
        if path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len(spans) == 700
    assert {attribute.value.string_value for attribute in spans[0].attributes if attribute.key.endswith("seed")} == {
        str(1 << 70)
    }
    [metrics] = [ExportMetricsServiceRequest.FromString(body) for path, body in collector.got if path == "/v1/metrics"]
    [resource] = metrics.resource_metrics
    assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "heatbath"
    by_name = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
    assert by_name["gen_ai.server.request.duration"].histogram.data_points[0].count == 700
    assert by_name["gen_ai.server.request.duration"].unit == "s"


@pytest.mark.parametrize("collector", [True], indirect=True)
def test_a_collector_that_hangs_holds_up_nothing(
    collector: Collector,
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "CLOSE_TIMEOUT", 0.3)
    monkeypatch.setattr(export, "EXPORT_TIMEOUT", 20.0)
    longest, ending = _serve(collector.url, ticket, answered, 1000)
    assert longest < 5
    assert ending < 5


def test_a_collector_that_is_not_there_holds_up_nothing(
    ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(export, "CLOSE_TIMEOUT", 0.3)
        monkeypatch.setattr(export, "EXPORT_TIMEOUT", 1.0)
        _, ending = _serve(url, ticket, answered, 1000)
        _wait_for_closers()
    assert ending < 5


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(
        MissingExtra, match=rf"^sending traces needs an optional part: run {re.escape(install_command('otel'))}\.$"
    ):
        otel.build_tracing(None, ["m"])


def test_the_conventions_own_names_of_version_1_41_are_these() -> None:
    """Against the package's constants, where it is there."""
    attributes = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {getattr(attributes, name) for name in dir(attributes) if name.startswith("GEN_AI_")}
    latest = {conventions.TEXT_INPUT_TOKENS, conventions.TEXT_OUTPUT_TOKENS}
    metrics = {
        conventions.REQUEST_DURATION[0],
        conventions.TIME_TO_FIRST_TOKEN[0],
        conventions.TIME_PER_OUTPUT_TOKEN[0],
    }
    ours = {value for value in vars(conventions).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    ours |= {attribute for attribute, _ in conventions.NUMBER_ATTRIBUTES.values()}
    assert ours - latest - metrics <= known
