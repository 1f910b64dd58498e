"""Filters of a search: conditions on the metadata of documents."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from heatbath.errors import BadInput, format_value

_SCALARS = (str, int, float, bool, type(None))


def validate_filters(filters: Mapping[str, Any]) -> None:
    """Check that filters are names with a value, or with a list of values of which one must match.

    Raises:
        BadInput: they are not.
    """
    if not isinstance(filters, Mapping):
        raise BadInput(f"`filters` must map names to values, got {format_value(filters)}.", param="filters")
    for name, value in filters.items():
        values = value if isinstance(value, list | tuple) else [value]
        if not isinstance(name, str) or not all(isinstance(each, _SCALARS) for each in values):
            raise BadInput(
                f"filter {name!r} must be a text, a number, true, false, null or a list of these, "
                f"got {format_value(value)}.",
                param="filters",
            )


def match_filters(filters: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Return True if metadata meets every condition.

    A value must be equal, or, where the metadata holds a list, in it; `path` may be a pattern such as `docs/*.md`. A
    name that the metadata lacks is null.
    """
    return all(_match_value(name, wanted, metadata.get(name)) for name, wanted in filters.items())


def _match_value(name: str, wanted: Any, found: Any) -> bool:
    wanted_values = wanted if isinstance(wanted, list | tuple) else [wanted]
    found_values = found if isinstance(found, list | tuple) else [found]
    if name == "path":
        return any(isinstance(each, str) and fnmatchcase(str(found), each) for each in wanted_values)
    return any(_equal(each, value) for each in wanted_values for value in found_values)


def _equal(a: Any, b: Any) -> bool:
    """Compare two values; true and 1 are different, 1 and 1.0 are not."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
