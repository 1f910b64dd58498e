"""Proofs for outsiders: the entry and the keys of its contents travel in the extra data of the proof.

The extra data is not signed and is trusted in nothing: the entry in it must have the leaf hash that the proof is of,
and a key in it must lead to the digest that the entry has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from heatbath.errors import BadInput
from heatbath.ledger.canonical import canonical_bytes, parse_json
from heatbath.ledger.checkpoint import InclusionProof
from heatbath.ledger.content import Content
from heatbath.ledger.entry import Entry
from heatbath.ledger.ledger import Ledger
from heatbath.ledger.merkle import ProofInvalid

REVEALED = ("answer",)
"""Contents whose keys a proof has, unless others are named."""


def build_portable_proof(ledger: Ledger, number: int, reveal: Sequence[str] = REVEALED) -> InclusionProof:
    """Return the proof of an entry, with the entry and the keys of some contents.

    Args:
        reveal: names of contents; with its key, a copy of one can be compared with its digest.

    Raises:
        BadInput: no such entry, one that is not published yet, or without such a content.
    """
    proof, body, entry = ledger.prove(number), ledger.read_body(number), ledger.read_entry(number)
    keys: dict[str, str] = {}
    for name in reveal:
        content = ledger.queue.read_content(entry.content[name]) if name in entry.content else None
        if content is not None:
            keys[name] = content.key.hex()
        elif name not in REVEALED:
            raise BadInput(f"entry {number} has no content {name!r}, or it was erased.")
    extra = canonical_bytes({"entry": body.decode(), "keys": keys})
    return dataclasses.replace(proof, extra=extra)


def read_entry_body(proof: InclusionProof) -> bytes:
    """Return the bytes of the entry that a proof carries. Raises `BadInput` if it carries none."""
    body = _read_extra(proof).get("entry")
    if not isinstance(body, str):
        raise BadInput("the proof does not carry its entry: give the entry's bytes with --entry.")
    return body.encode(errors="surrogatepass")


def verify_content(proof: InclusionProof, entry: Entry, name: str, content: bytes) -> None:
    """Verify that a copy is the content of an entry, by the key that the proof carries.

    Raises:
        BadInput: no such content, or no key of it.
        ProofInvalid: it is another content.
    """
    if name not in entry.content:
        raise BadInput(f"the entry has no content {name!r}: it has {', '.join(sorted(entry.content)) or 'none'}.")
    keys = _read_extra(proof).get("keys")
    encoded = keys.get(name) if isinstance(keys, dict) else None
    try:
        key = bytes.fromhex(encoded or "")
    except (TypeError, ValueError):
        key = b""
    if not key:
        raise BadInput(f"the proof has no key of the content {name!r}: make it with --reveal {name}.")
    if Content(content, key).digest != entry.content[name]:
        raise ProofInvalid(
            f"this is not the {name} of the entry: it was changed; every byte counts, a line break at the end too."
        )


def _read_extra(proof: InclusionProof) -> dict[str, Any]:
    try:
        extra = parse_json(proof.extra or b"{}")
    except ValueError:
        return {}
    return extra if isinstance(extra, dict) else {}
