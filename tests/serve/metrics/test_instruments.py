"""Every instrument has a name, a unit and labels as the conventions of Prometheus have them, and stays small."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from heatbath.engine.mock import MockEngine
from heatbath.record import Frame
from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry import Metrics
from heatbath.serve.telemetry.instruments import ALLOWED_LABELS
from heatbath.serve.telemetry.labels import Labels

UNITS = {"seconds", "bytes", "tokens", "nats", "ratio"}
THINGS = {"requests", "rows", "steps", "values", "finish", "refused", "errors", "stored", "unstored", "up", "build"}


class Nowhere:
    unavailable_reason: str | None = None

    async def save(self, answered: RequestOutcome) -> None: ...
    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None: ...
    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        return []


@pytest.fixture
def full(metrics: Metrics, answered: Callable[..., RequestOutcome], frame: Callable[..., Frame]) -> Metrics:
    """Metrics in which every instrument has a sample."""
    metrics.attach_gauges(MockEngine(), Nowhere())
    metrics.request_metrics.on_start(answered().request)
    metrics.request_metrics.on_finish(answered())
    metrics.request_metrics.on_rejection("/v1/completions", "queue_full")
    metrics.observer.update(frame(3))
    return metrics


def families(metrics: Metrics) -> Iterator[Metric]:
    return parsed(metrics.render_exposition("application/openmetrics-text")[0].decode())


def test_names_units_and_labels(full: Metrics) -> None:
    found = list(families(full))
    assert len(found) > 25
    for family in found:
        assert re.fullmatch(r"heatbath(_[a-z]+)+", family.name), family.name
        last = family.name.rpartition("_")[2]
        assert last in UNITS | THINGS, family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        assert family.unit in ("", last), family.name
        assert (last in UNITS) <= (family.type in ("histogram", "counter", "gauge")), family.name
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            extra = {"le"} if family.type == "histogram" else set()
            assert set(sample.labels) <= ALLOWED_LABELS | extra, sample.name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{family.name}_total", f"{family.name}_created"}


def test_every_histogram_says_its_unit(full: Metrics) -> None:
    histograms = [family for family in families(full) if family.type == "histogram"]
    assert len(histograms) == 10
    assert all(family.unit in ("seconds", "nats") and family.name.endswith(family.unit) for family in histograms)


def test_what_was_asked_for_is_there(full: Metrics) -> None:
    names = {family.name for family in families(full)}
    asked = """requests request_duration_seconds time_to_first_token_seconds time_per_output_token_seconds queue_seconds
        prompt_tokens cached_prompt_tokens completion_tokens finish refused stored unstored in_flight_requests
        engine_running_requests engine_waiting_requests engine_batch_rows prefix_asked_tokens prefix_hit_tokens
        prefix_cache_bytes store_up engine_up build event_loop_lag_seconds surprisal_nats entropy_nats
        heat_capacity_nats log_z_centred_nats drawn_tokens engine_steps"""
    assert {f"heatbath_{name}" for name in asked.split()} <= names


def test_nobody_can_grow_the_set_of_series(
    full: Metrics, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome]
) -> None:
    rng = np.random.default_rng(1)

    def load(count: int) -> None:
        for _ in range(count):
            name = uuid.UUID(bytes=rng.bytes(16)).hex
            asked = ticket(name, tenant=name, model=name, endpoint=f"/v1/{name}")
            full.request_metrics.on_start(asked)
            status, finish = int(rng.integers(0, 1000)), [name]
            full.request_metrics.on_finish(answered(asked, status=status, finish_reasons=finish, error=name))
            full.request_metrics.on_rejection(name, name)

    load(1000)
    # every listed status and class has been seen by now: 1000 draws of 1000 miss some, so give each
    for status in range(1000):
        full.request_metrics.on_finish(answered(ticket(model="x", endpoint="/x"), status=status))
    before = sum(len(family.samples) for family in families(full))
    load(10_000)
    assert sum(len(family.samples) for family in families(full)) == before
    assert before < 700


@pytest.mark.parametrize("name", ["smollm2-135m", "gpt-4o"])
def test_an_alias_counts_as_its_model(name: str) -> None:
    assert Labels(["smollm2-135m"], {"gpt-4o": "smollm2-135m"}).model(name) == "smollm2-135m"


def test_labels_that_are_not_listed() -> None:
    labels = Labels(["a"], {"b": "gone"})
    assert [labels.model("b"), labels.endpoint("/v1/x"), labels.finish("x"), labels.code("x")] == ["other"] * 4
    assert [labels.status(s) for s in (200, 499, 418, 599, 7, 1000)] == ["200", "499", "4xx", "5xx", "other", "other"]
    assert labels.endpoint("v1/completions") == "/v1/completions"
    assert labels.own_model == "a"


def test_the_registry_is_its_own(full: Metrics) -> None:
    from prometheus_client import REGISTRY

    assert not any(name.startswith("heatbath") for name in REGISTRY._names_to_collectors)


def test_the_plain_text_is_for_those_who_do_not_ask(full: Metrics) -> None:
    body, kind = full.render_exposition("text/html, */*")
    assert kind.startswith("text/plain; version=0.0.4")
    assert b"heatbath_requests_total{" in body
    assert not body.endswith(b"# EOF\n")
    assert full.render_exposition("application/openmetrics-text;version=nonsense")[0].endswith(b"# EOF\n")
