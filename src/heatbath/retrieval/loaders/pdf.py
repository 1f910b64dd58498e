"""PDF: the text of its pages (pypdf), a section for each page that has some, and its document information."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from heatbath.errors import BadInput, MissingExtra
from heatbath.retrieval.loaders.loaded_document import DocumentSection, LoadedDocument, replace_surrogates

_INFORMATION = {"title": "title", "author": "author", "subject": "subject"}
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
_PAGE_GAP = "\n\n"


def load(content: bytes, name: str) -> LoadedDocument:
    """Load the text of a PDF; offsets are those of that text, and sections have the number of their `page` from 1 on.

    Raises:
        BadInput: the file is damaged or encrypted, or has no text, as scans have none.
        MissingExtra: without the extra `retrieval`.
    """
    try:
        import pypdf
    except ImportError as error:
        raise MissingExtra("reading a PDF", "retrieval") from error
    try:
        with _quiet_library():
            reader = pypdf.PdfReader(io.BytesIO(content))
            pages = [_clean(page.extract_text()) for page in reader.pages]
            metadata = _read_information(reader.metadata)
    except Exception as error:  # damaged files raise whatever the parser stumbles over
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadInput(f"{name} cannot be read as a PDF ({reason}): repair it, or give its text.") from error
    if not any(page.strip() for page in pages):
        raise BadInput(f"{name} has no text, as scanned pages have none: run text recognition on it first.")
    title = str(metadata.get("title") or PurePath(name).name)
    return LoadedDocument(_PAGE_GAP.join(pages), title, tuple(_build_sections(pages, title)), metadata)


def _build_sections(pages: list[str], title: str) -> Iterator[DocumentSection]:
    start = 0
    for number, page in enumerate(pages, 1):
        if page.strip():
            yield DocumentSection(start, start + len(page), title, {"page": number})
        start += len(page) + len(_PAGE_GAP)


def _read_information(information: Any) -> dict[str, Any]:
    if information is None:
        return {}
    found = {name: getattr(information, attribute, None) for name, attribute in _INFORMATION.items()}
    return {name: _clean(str(value)).strip() for name, value in found.items() if value}


def _clean(text: str) -> str:
    return _CONTROLS.sub(" ", replace_surrogates(text))


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep what the library says of slips that it mends off the terminal."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
