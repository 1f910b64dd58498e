"""Documents as energies: an index of passages, the evidence they give, and the measured support of citations.

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.retrieval.document_index import DocumentIndex, open_index
    from heatbath.retrieval.index_update import UpdateReport, add_documents, remove_documents
    from heatbath.retrieval.manifest import IndexSettings
    from heatbath.retrieval.passage import Passage, SearchHit

_LAZY_IMPORTS = {
    "DocumentIndex": "document_index",
    "IndexSettings": "manifest",
    "Passage": "passage",
    "SearchHit": "passage",
    "UpdateReport": "index_update",
    "add_documents": "index_update",
    "open_index": "document_index",
    "remove_documents": "index_update",
}

__all__ = [
    "DocumentIndex",
    "IndexSettings",
    "Passage",
    "SearchHit",
    "UpdateReport",
    "add_documents",
    "open_index",
    "remove_documents",
]


def __getattr__(name: str) -> Any:
    """Import the module of a name on first access (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'heatbath.retrieval' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.retrieval.{_LAZY_IMPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
