"""One second of figures as the page shows them, over all models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heatbath.serve.telemetry.buckets import Floats, quantile
from heatbath.serve.telemetry.ensemble_metrics import QUANTITIES

Snapshot = Mapping[str, Any]

TICK_COLUMNS = (
    "t",
    "requests",
    "tokens",
    "errors",
    "running",
    "waiting",
    "first_p50",
    "first_p95",
    "each_p50",
    "each_p95",
    "prefix",
)
"""Unix seconds; rates per second; requests running and waiting; seconds; share of prompt tokens from the cache."""

_RATE_SPAN, _CACHE_SPAN = "10", "60"
"""Seconds over which rates are taken, by their names in the snapshot."""


def build_tick(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Return `TICK_COLUMNS` at `now`, and `distributions` of the last minute by model and quantity (counts, mean)."""
    models, edges, load = snapshot["models"], snapshot["edges"], snapshot["load"] or {}

    def rate(name: str, span: str = _RATE_SPAN) -> float:
        return float(sum(model["rates"][span][name] for model in models.values()))

    def level(name: str, share: float) -> float | None:
        return quantile(_sum_histograms(models, name), edges[name], share)

    prompt = rate("prompt_tokens", _CACHE_SPAN)
    return {
        "t": round(now, 3),
        "requests": rate("requests"),
        "tokens": rate("grown_tokens"),
        "errors": rate("errors"),
        "running": load.get("running", snapshot["in_flight"]),
        "waiting": load.get("waiting", 0),
        "first_p50": level("first_token", 0.5),
        "first_p95": level("first_token", 0.95),
        "each_p50": level("each_token", 0.5),
        "each_p95": level("each_token", 0.95),
        "prefix": rate("cached_tokens", _CACHE_SPAN) / prompt if prompt else None,
        "distributions": {name: _select_distributions(model) for name, model in models.items() if _has_counts(model)},
    }


def _sum_histograms(models: Mapping[str, Any], name: str) -> Floats:
    counts = [model["histograms"][name]["counts"] for model in models.values()]
    return np.asarray(np.sum(np.array(counts, np.float64), axis=0))


def _select_distributions(model: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {key: model["histograms"][name][key] for key in ("counts", "mean")} for name in QUANTITIES}


def _has_counts(model: Mapping[str, Any]) -> bool:
    return any(any(model["histograms"][name]["counts"]) for name in QUANTITIES)
