"""What the page needs to know once: names, limits, the phase map, the ticks of the last minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heatbath.ensemble import NODE_BETAS
from heatbath.serve.metrics.buckets import NATS
from heatbath.serve.page.chart import chart
from heatbath.serve.page.live import COLUMNS

if TYPE_CHECKING:
    from heatbath.serve.page.feed import Feed
    from heatbath.serve.services import Services


def state(services: Services, feed: Feed) -> dict[str, Any]:
    """Ready for JSON."""
    from heatbath.engine.menu import WINDOWS
    from heatbath.engine.samplers import SAMPLERS

    map_ = services.phase_map
    ticks = list(feed.recent)
    return {
        "models": services.names.all,
        "about": _about(services),
        "max_tokens": services.settings.limits.max_tokens,
        "samplers": list(SAMPLERS),
        "windows": {name: window.takes for name, window in WINDOWS.items()},
        "node_betas": NODE_BETAS.tolist(),
        "nats": list(NATS),
        "phase_map": None if map_ is None else chart(map_),
        "recent": {name: [tick[name] for tick in ticks] for name in COLUMNS},
    }


def _about(services: Services) -> str:
    language = services.engine.language
    context = f"context of {language.context_length:,} tokens" if language.context_length else "context without limit"
    parts = [f"{language.vocabulary.size:,} tokens in the vocabulary", context, language.fingerprint[:23] + "…"]
    if not services.settings.storage.content:
        parts.append("texts are not kept")
    return " · ".join(parts)
