"""Whether what `thermo` asks for by name is there, so that the field of the request can be named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from heatbath.serve.api.reading import shown
from heatbath.serve.api.schema.sampling import Thermo
from heatbath.serve.errors import invalid_value

# These load other models or code by name, which is no request's to ask for.
_WITHHELD = frozenset({"product", "mixture", "function"})


def check_names(asked: Thermo) -> None:
    """Raise `ApiError`, 400 with the field, for a name that is not offered."""
    # Brings the samplers with it, which a server without such requests need not load.
    from heatbath.engine.registry import FIELDS, POTENTIALS, SCHEDULES, WINDOWS
    from heatbath.engine.samplers import SAMPLERS

    _check("sampler", [asked.sampler] if asked.sampler else [], SAMPLERS)
    _check("schedule", _names([asked.schedule] if isinstance(asked.schedule, str) else asked.schedule or {}), SCHEDULES)
    for what, given, menu in (
        ("windows", asked.windows, WINDOWS),
        ("fields", asked.fields, FIELDS),
        ("potentials", asked.potentials, POTENTIALS),
    ):
        _check(what, _names(given), menu)


def _names(given: dict[str, Any] | list[Any]) -> Iterator[str]:
    if isinstance(given, dict):
        yield from given
        return
    for item in given:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item


def _check(what: str, names: Iterable[str], menu: Iterable[str]) -> None:
    known = [name for name in menu if name not in _WITHHELD]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name[:64], known, n=1)
            hint = f", did you mean {near[0]}" if near else ""
            message = f"thermo.{what} names {shown(name)}{hint}: choose from {', '.join(known)}."
            raise invalid_value(message, f"thermo.{what}")
