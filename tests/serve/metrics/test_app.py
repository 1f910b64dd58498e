"""The whole application over a mock engine: what it counts is what was asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from heatbath.engine.mock import MockEngine, MockLatency
from heatbath.serve.app import build_app
from heatbath.serve.services import Services, build_services
from heatbath.serve.settings import Settings
from heatbath.serve.telemetry import Metrics

Samples = Callable[[Metrics], Mapping[str, float]]
WHERE = "endpoint=/v1/chat/completions,model=mock"


@pytest.fixture
def services(tmp_path: Path) -> Services:
    engine = MockEngine(MockLatency(each=0.002, most=8))
    parts: dict[str, Any] = {
        "server": {"page": False},
        "model": {"name": "mock", "aliases": {"gpt-4o": "mock"}},
        "storage": {"url": f"sqlite:///{tmp_path / 'heatbath.db'}"},
    }
    return build_services(Settings(**parts), engine=engine)


def body(**changes: Any) -> bytes:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    return json.dumps({**asked, **changes}).encode()


async def post(client: httpx2.AsyncClient, **changes: Any) -> int:
    json_ = {"content-type": "application/json"}
    return (await client.post("/v1/chat/completions", content=body(**changes), headers=json_)).status_code


async def leave(app: Starlette, gone: asyncio.Event) -> None:
    """Ask for a long stream, and go when `gone` is set."""
    asked = [{"type": "http.request", "body": body(stream=True, max_tokens=4000), "more_body": False}]

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "query_string": b""}
    more = {
        "http_version": "1.1",
        "scheme": "http",
        "asgi": {"version": "3.0"},
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    with contextlib.suppress(Exception):
        await app({**scope, **more, "raw_path": b"/v1/chat/completions", "server": ("127.0.0.1", 8000)}, receive, send)


async def visit(services: Services, work: Callable[[Starlette, httpx2.AsyncClient], Any]) -> None:
    app = build_app(services)
    async with app.router.lifespan_context(app):
        while services.lifecycle.unavailable_reason:
            await asyncio.sleep(0.01)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            await work(app, client)


def test_what_is_asked_is_what_is_counted(services: Services, samples: Samples) -> None:
    scraped: list[httpx2.Response] = []

    async def work(app: Starlette, client: httpx2.AsyncClient) -> None:
        done = await asyncio.gather(*(post(client, n=2) for _ in range(5)))
        assert done == [200] * 5
        assert await post(client, stream=True) == 200
        assert await post(client, model="nobody") == 404
        assert await post(client, max_tokens="many") == 400
        scraped.append(await client.get("/metrics", headers={"accept": "application/openmetrics-text"}))

    asyncio.run(visit(services, work))
    assert scraped[0].status_code == 200
    assert services.metrics is not None
    found = samples(services.metrics)
    assert found[f"heatbath_requests_total{{{WHERE},status=200}}"] == 6
    assert found["heatbath_completion_tokens_total{model=mock}"] == 5 * 2 * 20 + 20
    assert found["heatbath_finish_total{finish=length,model=mock}"] == 11
    assert found["heatbath_time_to_first_token_seconds_count{model=mock}"] == 6
    assert found["heatbath_time_per_output_token_seconds_count{model=mock}"] == 6
    assert found["heatbath_refused_total{code=model_not_found,endpoint=/v1/chat/completions}"] == 1
    assert sum(value for name, value in found.items() if name.startswith("heatbath_refused_total")) == 2
    assert found["heatbath_in_flight_requests"] == 0
    assert found["heatbath_stored_total"] == 6


def test_the_minutes_are_in_the_storage_when_it_has_stopped(services: Services) -> None:
    async def work(app: Starlette, client: httpx2.AsyncClient) -> None:
        assert await post(client) == 200

    async def run() -> float:
        await visit(services, work)
        from heatbath.serve.storage import open_store

        store = open_store(services.settings.storage.url)
        try:
            return sum(minute.counts["requests"] for minute in await store.read_minutes(0.0))
        finally:
            await store.close()

    assert asyncio.run(run()) == 1


def test_gauges_are_back_at_zero_after_clients_have_gone(services: Services, samples: Samples) -> None:
    async def work(app: Starlette, client: httpx2.AsyncClient) -> None:
        assert services.metrics is not None
        gone = asyncio.Event()
        leaving = [asyncio.create_task(leave(app, gone)) for _ in range(6)]
        async with asyncio.timeout(20):
            while samples(services.metrics).get("heatbath_engine_running_requests") != 6:
                await asyncio.sleep(0.01)
            assert samples(services.metrics)["heatbath_in_flight_requests"] == 6
            gone.set()
            await asyncio.gather(*leaving)
            while samples(services.metrics)["heatbath_in_flight_requests"]:
                await asyncio.sleep(0.01)
        found = samples(services.metrics)
        assert found["heatbath_in_flight_requests"] == found["heatbath_engine_running_requests"] == 0
        assert found[f"heatbath_requests_total{{{WHERE},status=499}}"] == 6
        assert found["heatbath_errors_total{code=client_gone,endpoint=/v1/chat/completions}"] == 6

    asyncio.run(visit(services, work))


def test_a_full_queue_is_an_error_with_its_code(services: Services, samples: Samples) -> None:
    async def work(app: Starlette, client: httpx2.AsyncClient) -> None:
        done = await asyncio.gather(*(post(client, max_tokens=50) for _ in range(12)))
        assert sorted(done) == [200] * 8 + [429] * 4

    asyncio.run(visit(services, work))
    assert services.metrics is not None
    found = samples(services.metrics)
    assert found["heatbath_errors_total{code=queue_full,endpoint=/v1/chat/completions}"] == 4
    assert found[f"heatbath_requests_total{{{WHERE},status=429}}"] == 4


def test_a_request_of_a_trace_is_a_span_of_it(services: Services) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from heatbath.serve.telemetry.labels import Labels
    from heatbath.serve.telemetry.otel.export import build_providers
    from heatbath.serve.telemetry.otel.spans import SpanOptions, TraceContextMiddleware

    spans, labels = InMemorySpanExporter(), Labels(["mock"])
    made = build_providers(
        SimpleSpanProcessor(spans), InMemoryMetricReader(), labels, SpanOptions(include_content=True)
    )
    traced = replace(services, observers=(*services.observers, made.observer))
    trace = "0af7651916cd43dd8448eb211c80319c"

    async def work(app: Starlette, client: httpx2.AsyncClient) -> None:
        headers = {"content-type": "application/json", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        through = httpx2.ASGITransport(TraceContextMiddleware(app), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=through, base_url="http://127.0.0.1:8000") as other:
            answer = await other.post("/v1/chat/completions", content=body(temperature=0.5), headers=headers)
        assert answer.json()["id"] == spans.get_finished_spans()[0].attributes["gen_ai.response.id"]

    asyncio.run(visit(traced, work))
    [span] = spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == trace
    assert span.name == "chat mock"
    assert span.attributes["gen_ai.request.temperature"] == 0.5
    assert span.attributes["thermo.entropy.mean"] == pytest.approx((math.log(2),))
    assert json.loads(span.attributes["gen_ai.input.messages"])[0]["parts"][0]["content"] == "Hi"
    assert json.loads(span.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == "The quick brown fox "
