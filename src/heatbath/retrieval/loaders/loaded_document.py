"""A document as a loader returns it, and the decoding of its bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heatbath.errors import BadInput

_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PROBE_BYTES = 8192


@dataclass(frozen=True)
class DocumentSection:
    """A part of a document that chunks do not cross: its code points `start` to `end`, and the heading above it."""

    start: int
    end: int
    title: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedDocument:
    """The text of a document, its sections in order, and what it says of itself.

    Offsets are code points of `text`. What no section holds, such as front matter, is not indexed.
    """

    text: str
    title: str
    sections: tuple[DocumentSection, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def decode_text(content: bytes, name: str) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark; line ends stay as they are.

    Raises:
        BadInput: binary data, or another encoding.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _decode(content[len(mark) :], encoding, name)
    if _CONTROL_BYTES.search(content[:_PROBE_BYTES]) or b"\x00" in content:
        raise BadInput(f"{name} holds binary data, not text: leave it out, or give the text of it.")
    return _decode(content, "utf-8", name)


def _decode(content: bytes, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{name} is not {encoding.upper()[:6].rstrip('-')} text (byte {error.start}): convert it to UTF-8."
        ) from error


def replace_surrogates(text: str) -> str:
    """Return a text with halves of surrogate pairs, which no encoding can write, replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_section(text: str, title: str) -> tuple[DocumentSection, ...]:
    """Return the text as one section, or none if it is empty."""
    return (DocumentSection(0, len(text), title),) if text else ()
