"""The state that the page loads once: names, limits, the phase map, and the ticks of the last minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heatbath.ensemble import NODE_BETAS
from heatbath.serve.dashboard.serializers import to_json_values
from heatbath.serve.dashboard.tick import TICK_COLUMNS
from heatbath.serve.telemetry.buckets import NATS

_EDGE_FIELDS = ("name", "temperature", "interval", "verdict")

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap
    from heatbath.serve.dashboard.feed import Feed
    from heatbath.serve.services import Services


def build_state(services: Services, feed: Feed) -> dict[str, Any]:
    """Return the state, ready for JSON."""
    from heatbath.engine.registry import SAMPLERS, WINDOWS

    map_ = services.phase_map
    ticks = list(feed.recent_ticks)
    return {
        "models": services.model_names.all_names,
        "about": _describe_model(services),
        "max_tokens": services.settings.limits.max_tokens,
        "samplers": list(SAMPLERS.offered_specs),
        "windows": {name: window.example for name, window in WINDOWS.offered_specs.items()},
        "node_betas": NODE_BETAS.tolist(),
        "nats": list(NATS),
        "calibrated": services.calibrator is not None,
        "retrieves": services.indexes is not None,
        "reviewed": services.review is not None,
        "governed": services.policy is not None,
        "phase_map": None if map_ is None else phase_map_to_json(map_),
        "recent": {name: [tick[name] for tick in ticks] for name in TICK_COLUMNS},
    }


def _describe_model(services: Services) -> str:
    language = services.engine.model_info
    context = f"context of {language.context_length:,} tokens" if language.context_length else "context without limit"
    parts = [f"{language.vocabulary.size:,} tokens in the vocabulary", context, language.fingerprint[:23] + "…"]
    if not services.settings.storage.content:
        parts.append("texts are not kept")
    return " · ".join(parts)


def phase_map_to_json(map_: PhaseMap) -> dict[str, Any]:
    """Return curves with bands and points, edges with intervals, and the recommended range."""
    from heatbath.phases.curves import title_and_unit  # brings what fits curves: a second of a server's start

    curves = []
    for curve in map_.curves:
        title, unit = title_and_unit(curve.name)
        points = {"x": curve.points.x, "value": curve.points.value}
        columns = {"temperature": curve.temperature, "value": curve.value, "stderr": curve.stderr, "points": points}
        curves.append({"name": curve.name, "title": title, "unit": unit, **to_json_values(columns)})
    edges = [{name: to_json_values(getattr(edge, name)) for name in _EDGE_FIELDS} for edge in map_.edges]
    advice = map_.advice
    return {"curves": curves, "edges": edges, "range": to_json_values(advice.range), "reason": advice.reason}
