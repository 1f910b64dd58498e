"""Windows by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heatbath.decode import Window, windows
from heatbath.engine.registry.entry import BuildContext, Entry


def _build_context_free_entry(make: Callable[..., Window], takes: str) -> Entry[Window]:
    """A window that needs neither model nor length."""
    from functools import wraps

    @wraps(make)
    def build(setting: BuildContext, *given: Any, **named: Any) -> Window:
        return make(*given, **named)

    return Entry(build, takes)


WINDOWS: dict[str, Entry[Window]] = {
    "top_k": _build_context_free_entry(windows.top_k, "40"),
    "top_p": _build_context_free_entry(windows.top_p, "0.9"),
    "min_p": _build_context_free_entry(windows.min_p, "0.05"),
    "typical": _build_context_free_entry(windows.typical, "0.95"),
    "epsilon": _build_context_free_entry(windows.epsilon, "0.0003"),
    "eta": _build_context_free_entry(windows.eta, "0.0006"),
    "top_n_sigma": _build_context_free_entry(windows.top_n_sigma, "1.0"),
    "p_less": _build_context_free_entry(windows.p_less, ""),
    "p_less_norm": _build_context_free_entry(windows.p_less_norm, ""),
    "top_h": _build_context_free_entry(windows.top_h, "0.4"),
    "exclude_top_choices": _build_context_free_entry(
        windows.exclude_top_choices, '{"threshold": 0.1, "probability": 0.5}'
    ),
}
"""Windows by name."""
