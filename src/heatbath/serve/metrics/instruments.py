"""What is counted of requests, for Prometheus: names, units, labels and buckets in one place."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from heatbath.serve.metrics.buckets import EACH_TOKEN, FIRST_TOKEN, LAG, REQUEST

ALLOWED_LABELS = frozenset({"model", "endpoint", "status", "finish", "code", "quantity", "version", "python"})
"""No label may have another name: who asked and what was asked never become one."""


@dataclass(frozen=True)
class Instruments:
    """Each is `heatbath_` and its name here, with its unit and `_total` as the conventions of Prometheus have it."""

    requests: Counter
    in_flight: Gauge
    duration: Histogram
    first_token: Histogram
    each_token: Histogram
    queue: Histogram
    prompt: Counter
    cached_prompt: Counter
    completion: Counter
    finish: Counter
    refused: Counter
    errors: Counter
    stored: Counter
    unstored: Counter
    store_duration: Histogram
    lag: Histogram
    build: Info


def instruments(registry: CollectorRegistry) -> Instruments:
    """All of them, on `registry`."""

    def counter(name: str, text: str, *labels: str, unit: str = "") -> Counter:
        return Counter(f"heatbath_{name}", text, labels, unit=unit, registry=registry)

    def seconds(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"heatbath_{name}", text, labels, unit="seconds", buckets=buckets, registry=registry)

    return Instruments(
        requests=counter("requests", "Requests that ended; status 499: the client had gone.", *_WHERE, "status"),
        in_flight=Gauge("heatbath_in_flight_requests", "Requests taken and not ended.", registry=registry),
        duration=seconds("request_duration", "From arrival to the end of a request.", REQUEST, *_WHERE),
        first_token=seconds("time_to_first_token", "From arrival to the first token.", FIRST_TOKEN, "model"),
        each_token=seconds(
            "time_per_output_token", "Mean time between tokens of the longest answer.", EACH_TOKEN, "model"
        ),
        queue=seconds("queue", "Waited in the engine's queue.", FIRST_TOKEN, "model"),
        prompt=counter("prompt", "Tokens of prompts.", "model", unit="tokens"),
        cached_prompt=counter("cached_prompt", "Tokens of prompts found in the prefix cache.", "model", unit="tokens"),
        completion=counter("completion", "Tokens of answers.", "model", unit="tokens"),
        finish=counter("finish", "Answers, by how they ended.", "model", "finish"),
        refused=counter("refused", "Requests turned away before they were taken.", "endpoint", "code"),
        errors=counter("errors", "Requests that were taken and went wrong.", "endpoint", "code"),
        stored=counter("stored", "Answers that were stored."),
        unstored=counter("unstored", "Answers that could not be stored."),
        store_duration=seconds("store_duration", "To store one answer durably.", FIRST_TOKEN),
        lag=seconds("event_loop_lag", "How late the event loop woke a task that only slept.", LAG),
        build=Info("heatbath_build", "The version that runs.", registry=registry),
    )


_WHERE = ("endpoint", "model")
