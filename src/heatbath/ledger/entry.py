"""Entries of a ledger: what happened, in canonical bytes, with keyed digests in place of content.

The content itself is kept apart (`content.py`), so that it can be erased and no proof breaks. `docs/ledger-entries.md`
has the schema.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from heatbath.errors import BadInput
from heatbath.ledger.canonical import canonical_bytes, is_canonical, parse_json
from heatbath.ledger.tiles import MAX_ENTRY_SIZE

SCHEMA = "heatbath.entry/1"
KINDS = ("decision", "outcome", "review", "erasure", "event")
"""Kinds of entries: an answer, a label of one, a reviewer's decision, content that was erased, anything else."""

_ID = re.compile(r"[0-9a-f]{32}")
_FIELDS = {"schema", "kind", "id", "time", "content", "data"}


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        kind: one of `KINDS`.
        data: what is recorded, a JSON object.
        content: keyed digest of each content that is kept apart, hex digits by name.
        id: 32 hex digits; an entry with an id that the log has is not appended again.
        time: when it was made, RFC 3339 in UTC. Entries are ordered by their number, never by time.
    """

    kind: str
    data: Mapping[str, Any]
    content: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: str = field(default_factory=lambda: format_time(datetime.now(UTC)))

    def encode(self) -> bytes:
        """Return the canonical bytes, which are what the log holds.

        Raises:
            BadInput: an unknown kind, an id that is malformed, values that JSON does not have, or too many bytes.
        """
        if self.kind not in KINDS:
            raise BadInput(f"`kind` must be one of {', '.join(KINDS)}, got {self.kind!r}.", param="kind")
        if not _ID.fullmatch(self.id):
            raise BadInput(f"`id` must be 32 hex digits, got {self.id[:60]!r}.", param="id")
        body = canonical_bytes(
            {
                "schema": SCHEMA,
                "kind": self.kind,
                "id": self.id,
                "time": self.time,
                "content": dict(self.content),
                "data": dict(self.data),
            }
        )
        if len(body) > MAX_ENTRY_SIZE:
            raise BadInput(
                f"the entry has {len(body):,} bytes and at most {MAX_ENTRY_SIZE:,} fit: give long texts as content."
            )
        return body


def format_time(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_entry(body: bytes) -> Entry:
    """Return the entry of its bytes.

    Raises:
        BadInput: they are not canonical, lack a field, or have a schema that this version does not read.
    """
    try:
        value = parse_json(body)
    except (ValueError, RecursionError):
        raise BadInput("an entry is not valid JSON.") from None
    if not isinstance(value, dict) or not is_canonical(value, body):
        raise BadInput("an entry is not in canonical form (RFC 8785).")
    if value.get("schema") != SCHEMA:
        raise BadInput(f"an entry has the schema {str(value.get('schema'))[:60]!r}: this version reads {SCHEMA}.")
    if set(value) != _FIELDS:
        raise BadInput(f"an entry of {SCHEMA} must have the fields {', '.join(sorted(_FIELDS))}.")
    return Entry(value["kind"], value["data"], value["content"], value["id"], value["time"])
