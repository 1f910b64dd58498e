"""Windows by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heatbath.decode import Window, windows
from heatbath.engine.menu.choosing import Dish, Setting


def _plain(make: Callable[..., Window], takes: str) -> Dish[Window]:
    """A window that needs neither model nor length."""
    from functools import wraps

    @wraps(make)
    def made(setting: Setting, *given: Any, **named: Any) -> Window:
        return make(*given, **named)

    return Dish(made, takes)


WINDOWS: dict[str, Dish[Window]] = {
    "top_k": _plain(windows.top_k, "40"),
    "top_p": _plain(windows.top_p, "0.9"),
    "min_p": _plain(windows.min_p, "0.05"),
    "typical": _plain(windows.typical, "0.95"),
    "epsilon": _plain(windows.epsilon, "0.0003"),
    "eta": _plain(windows.eta, "0.0006"),
    "top_n_sigma": _plain(windows.top_n_sigma, "1.0"),
    "p_less": _plain(windows.p_less, ""),
    "p_less_norm": _plain(windows.p_less_norm, ""),
    "top_h": _plain(windows.top_h, "0.4"),
    "exclude_top_choices": _plain(windows.exclude_top_choices, '{"threshold": 0.1, "probability": 0.5}'),
}
"""Windows by name."""
