"""Loaders: from the bytes of a file to a text, its sections and its metadata.

A loader is a module with a function `load(content: bytes, name: str) -> LoadedDocument`, and a line in `LOADERS`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePath

from heatbath.retrieval.loaders.loaded_document import DocumentSection, LoadedDocument

__all__ = ["LOADERS", "DocumentSection", "LoadedDocument", "find_type", "load_document"]

LOADERS: dict[str, tuple[str, ...]] = {
    "plain_text": (".txt", ".text", ".rst", ".adoc", ".org", ".tex", ".log", ".csv", ".tsv", ".json", ".yaml", ".toml"),
    "markdown": (".md", ".markdown", ".mdx"),
    "html": (".html", ".htm", ".xhtml"),
    "pdf": (".pdf",),
    "source_code": (
        *(".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".java", ".go", ".rs"),
        *(".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh"),
    ),
}
"""The suffixes of file names by the module of their loader; its name is the type of the document."""

_TYPES = {suffix: name for name, suffixes in LOADERS.items() for suffix in suffixes}


def find_type(name: str) -> str | None:
    """Return the type of a document by the suffix of its name, None for a suffix that no loader has."""
    return _TYPES.get(PurePath(name).suffix.lower())


def load_document(content: bytes, name: str) -> LoadedDocument:
    """Load a document by the suffix of its name; as plain text if no loader has that.

    Raises:
        BadInput: the content is not what the suffix says, or no text.
        MissingExtra: without the extra `retrieval`.
    """
    module = import_module(f"heatbath.retrieval.loaders.{find_type(name) or 'plain_text'}")
    document: LoadedDocument = module.load(content, name)
    return document
