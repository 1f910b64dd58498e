"""Query parameters of lists: limit, after, order, and filters by metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.validation import format_value

MAX_PAGE = 100
_DEFAULT_PAGE = 20
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)


@dataclass(frozen=True)
class PageQuery:
    """Up to `limit` entries after the one of id `after`, oldest first if `ascending`."""

    limit: int
    after: str | None
    ascending: bool


def read_page(query: Mapping[str, str], *, order: str) -> PageQuery:
    """Return what `limit`, `after` and `order` ask for; `order` is the default one.

    Raises:
        ApiError: 400 that names the parameter.
    """
    limit = query.get("limit", str(_DEFAULT_PAGE))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= MAX_PAGE):
        raise invalid_value(f"limit is {format_value(limit)}: give a number from 1 to {MAX_PAGE}.", "limit")
    order = query.get("order", order)
    if order not in ("asc", "desc"):
        raise invalid_value(f"order is {format_value(order)}: give asc or desc.", "order")
    return PageQuery(int(limit), query.get("after") or None, order == "asc")


def read_metadata_filter(query: Mapping[str, str]) -> dict[str, str]:
    """Return the values that entries must have, from parameters like metadata[key]=value.

    Raises:
        ApiError: 400 for metadata in another form.
    """
    wanted: dict[str, str] = {}
    for name, value in query.items():
        if not name.startswith("metadata"):
            continue
        match = _METADATA.fullmatch(name)
        if match is None:
            raise invalid_value(f"{format_value(name)} is no filter: write metadata[key]=value.", "metadata")
        wanted[match[1]] = value
    return wanted


def list_body(entries: Sequence[Mapping[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return the body of a page of entries that have ids."""
    first, last = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
    return {"object": "list", "data": entries, "first_id": first, "last_id": last, "has_more": has_more}


def select_page(entries: Sequence[dict[str, Any]], page: PageQuery) -> dict[str, Any]:
    """Return the body of one page of `entries`, which are oldest first.

    Raises:
        ApiError: 400, there is no entry of the id that `page` continues after.
    """
    ordered = list(entries) if page.ascending else list(entries)[::-1]
    if page.after is not None:
        ids = [entry["id"] for entry in ordered]
        if page.after not in ids:
            raise invalid_value("after names no entry of this list: give the id of one.", "after")
        ordered = ordered[ids.index(page.after) + 1 :]
    return list_body(ordered[: page.limit], has_more=len(ordered) > page.limit)
