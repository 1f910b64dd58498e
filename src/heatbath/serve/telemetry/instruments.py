"""Prometheus instruments of requests: names, units, labels and buckets in one place."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from heatbath.serve.telemetry.buckets import FIRST_TOKEN_SECONDS, LAG_SECONDS, REQUEST_SECONDS, TOKEN_INTERVAL_SECONDS

ALLOWED_LABELS = frozenset(
    {
        "model",
        "endpoint",
        "status",
        "finish",
        "code",
        "quantity",
        "version",
        "python",
        "rule",
        "scope",
        "verdict",
        "action",
    }
)
"""All label names: neither tenants nor contents ever become a label."""


@dataclass(frozen=True)
class Instruments:
    """The instruments, exported as `heatbath_` and name, with unit and `_total` by the Prometheus conventions."""

    requests: Counter
    in_flight: Gauge
    duration: Histogram
    first_token: Histogram
    token_interval: Histogram
    queue: Histogram
    prompt: Counter
    cached_prompt: Counter
    completion: Counter
    generated: Counter
    finish_reasons: Counter
    rejections: Counter
    errors: Counter
    store_successes: Counter
    store_failures: Counter
    store_duration: Histogram
    lag: Histogram
    build: Info


def build_instruments(registry: CollectorRegistry) -> Instruments:
    """Create all instruments on `registry`."""

    def counter(name: str, text: str, *labels: str, unit: str = "") -> Counter:
        return Counter(f"heatbath_{name}", text, labels, unit=unit, registry=registry)

    def seconds(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"heatbath_{name}", text, labels, unit="seconds", buckets=buckets, registry=registry)

    return Instruments(
        requests=counter(
            "requests", "Requests that ended; status 499: the client had gone.", *_ENDPOINT_LABELS, "status"
        ),
        in_flight=Gauge("heatbath_in_flight_requests", "Requests taken and not ended.", registry=registry),
        duration=seconds(
            "request_duration", "From arrival to the end of a request.", REQUEST_SECONDS, *_ENDPOINT_LABELS
        ),
        first_token=seconds("time_to_first_token", "From arrival to the first token.", FIRST_TOKEN_SECONDS, "model"),
        token_interval=seconds(
            "time_per_output_token", "Mean time between tokens of the longest answer.", TOKEN_INTERVAL_SECONDS, "model"
        ),
        queue=seconds("queue", "Waited in the engine's queue.", FIRST_TOKEN_SECONDS, "model"),
        prompt=counter("prompt", "Tokens of prompts.", "model", unit="tokens"),
        cached_prompt=counter("cached_prompt", "Tokens of prompts found in the prefix cache.", "model", unit="tokens"),
        completion=counter("completion", "Tokens of answers.", "model", unit="tokens"),
        # Not exported, since `completion` counts the same tokens when a request ends.
        generated=Counter("heatbath_generated_tokens", "Tokens as they come.", ["model"], registry=None),
        finish_reasons=counter("finish", "Answers, by how they ended.", "model", "finish"),
        rejections=counter("refused", "Requests turned away before they were taken.", "endpoint", "code"),
        errors=counter("errors", "Requests that were taken and went wrong.", "endpoint", "code"),
        store_successes=counter("stored", "Answers that were stored."),
        store_failures=counter("unstored", "Answers that could not be stored."),
        store_duration=seconds("store_duration", "To store one answer durably.", FIRST_TOKEN_SECONDS),
        lag=seconds("event_loop_lag", "How late the event loop woke a task that only slept.", LAG_SECONDS),
        build=Info("heatbath_build", "The version that runs.", registry=registry),
    )


_ENDPOINT_LABELS = ("endpoint", "model")
