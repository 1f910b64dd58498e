"""Plain text: one section."""

from __future__ import annotations

from pathlib import PurePath

from heatbath.retrieval.loaders.loaded_document import LoadedDocument, decode_text, whole_section


def load(content: bytes, name: str) -> LoadedDocument:
    """Load plain text in UTF-8.

    Raises:
        BadInput: binary data, or another encoding.
    """
    text, title = decode_text(content, name), PurePath(name).name
    return LoadedDocument(text, title, whole_section(text, title))
