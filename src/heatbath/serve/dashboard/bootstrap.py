"""What the page needs to know once: names, limits, the phase map, the ticks of the last minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heatbath.ensemble import NODE_BETAS
from heatbath.serve.dashboard.phase_map_json import phase_map_to_json
from heatbath.serve.dashboard.tick import TICK_COLUMNS
from heatbath.serve.telemetry.buckets import NATS

if TYPE_CHECKING:
    from heatbath.serve.dashboard.feed import Feed
    from heatbath.serve.services import Services


def build_state(services: Services, feed: Feed) -> dict[str, Any]:
    """Ready for JSON."""
    from heatbath.engine.registry import SAMPLERS, WINDOWS

    map_ = services.phase_map
    ticks = list(feed.recent_ticks)
    return {
        "models": services.model_names.all_names,
        "about": _describe_model(services),
        "max_tokens": services.settings.limits.max_tokens,
        "samplers": list(SAMPLERS.offered),
        "windows": {name: window.example for name, window in WINDOWS.offered.items()},
        "node_betas": NODE_BETAS.tolist(),
        "nats": list(NATS),
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
