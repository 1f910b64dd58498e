"""Tickets, answers, and an exposition that is read back by Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from heatbath.engine.base import Token, TokensGenerated
from heatbath.record import Frame, Record
from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry import Metrics, build_metrics

CHAT = "/v1/chat/completions"


@pytest.fixture
def metrics() -> Metrics:
    return build_metrics(["smollm2-135m"], {"gpt-4o": "smollm2-135m"})


@pytest.fixture
def ticket() -> Callable[..., RequestInfo]:
    def make(id: str = "r1", **changes: Any) -> RequestInfo:
        fields = {"tenant": "t", "endpoint": CHAT, "model": "smollm2-135m", "stream": False, "started_at": 0.0}
        return RequestInfo(**{"id": id, "created_at": 1.7e9, **fields, **changes})

    return make


@pytest.fixture
def answered(ticket: Callable[..., RequestInfo]) -> Callable[..., RequestOutcome]:
    def make(of: RequestInfo | None = None, **changes: Any) -> RequestOutcome:
        good = {
            "status": 200,
            "prompt_tokens": 10,
            "cached_tokens": 4,
            "completion_tokens": 5,
            "finish_reasons": ["stop"],
        }
        times = {"queue_seconds": 0.003, "first_token_seconds": 0.03, "duration": 0.5}
        return RequestOutcome(of or ticket(), **{**good, **times, **changes})

    return make


@pytest.fixture
def grown() -> Callable[..., TokensGenerated]:
    def make(tokens: int = 1, choice: int = 0) -> TokensGenerated:
        return TokensGenerated(choice, [Token(1, -0.5)] * tokens, "x" * tokens)

    return make


@pytest.fixture
def frame() -> Callable[..., Frame]:
    """A step of so many rows of ensembles with 50 states each, their columns by the formulas as they are written."""

    def make(rows: int, beta: float = 1.0, seed: int = 0, gauge: float = 0.0) -> Frame:
        rng = np.random.default_rng(seed)
        energies, tokens = 3 * rng.normal(size=(rows, 50)) + gauge, rng.integers(0, 50, rows)
        ground = energies.min(axis=1)
        log_z = np.log(np.exp(-beta * (energies - ground[:, None])).sum(axis=1)) - beta * ground
        logprobs = -beta * energies - log_z[:, None]
        p = np.exp(logprobs)
        mean = (p * energies).sum(axis=1)
        columns = {
            "energy": energies[np.arange(rows), tokens],
            "logprob": logprobs[np.arange(rows), tokens],
            "log_z": log_z,
            "entropy": -(p * logprobs).sum(axis=1),
            "heat_capacity": beta**2 * (p * (energies - mean[:, None]) ** 2).sum(axis=1),
            "ground": ground,
            "p_max": p.max(axis=1),
        }
        return Frame(0, np.arange(rows), tokens, Record(columns))

    return make


@pytest.fixture
def samples() -> Callable[[Metrics], Mapping[str, float]]:
    """Samples by name and labels: `heatbath_requests_total{status=200,…}`, `le` and all."""

    def read(metrics: Metrics) -> Mapping[str, float]:
        body, kind = metrics.render_exposition("application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        return {
            _name(sample.name, sample.labels): sample.value
            for family in parsed(body.decode())
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    return read


def _name(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
