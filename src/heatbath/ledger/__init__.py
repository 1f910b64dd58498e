"""A Merkle log of decisions: entries, tiles, checkpoints and proofs that an outsider can verify."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.ledger.checkpoint import InclusionProof, open_checkpoint, parse_proof
    from heatbath.ledger.entry import Entry, parse_entry
    from heatbath.ledger.ledger import Ledger, Receipt, build_entry
    from heatbath.ledger.signed_note import parse_verifier_key

__all__ = [
    "Entry",
    "InclusionProof",
    "Ledger",
    "Receipt",
    "build_entry",
    "open_checkpoint",
    "parse_entry",
    "parse_proof",
    "parse_verifier_key",
]

_MODULES = {
    "Entry": "entry",
    "InclusionProof": "checkpoint",
    "Ledger": "ledger",
    "Receipt": "ledger",
    "build_entry": "ledger",
    "open_checkpoint": "checkpoint",
    "parse_entry": "entry",
    "parse_proof": "checkpoint",
    "parse_verifier_key": "signed_note",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"heatbath.ledger.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
