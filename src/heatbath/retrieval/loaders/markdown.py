"""Markdown: a section for each heading, and metadata from YAML front matter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import PurePath
from typing import Any

from heatbath.errors import BadInput
from heatbath.retrieval.loaders.loaded_document import DocumentSection, LoadedDocument, decode_text

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_PARAGRAPH = re.compile(r" {0,3}(?![-+*>|#]|\d+[.)]|[`~]{3})\S")
Heading = tuple[int, int, str]
"""The place of a heading, its level and its text."""


def load(content: bytes, name: str) -> LoadedDocument:
    """Load Markdown in UTF-8. The text is that of the file; front matter becomes metadata.

    Raises:
        BadInput: binary data, another encoding, or front matter that is no YAML mapping.
    """
    text = decode_text(content, name)
    metadata, start = _read_front_matter(text, name)
    headings = list(_find_headings(text, start))
    title = str(metadata.get("title") or next((each[2] for each in headings if each[2]), "") or PurePath(name).name)
    return LoadedDocument(text, title, tuple(_build_sections(text, start, title, headings)), metadata)


def _read_front_matter(text: str, name: str) -> tuple[dict[str, Any], int]:
    """Return the metadata of a text, and where its body begins."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, 0
    import yaml  # a part of transformers

    try:
        found = yaml.safe_load(match[1]) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{name}: the front matter is no YAML ({reason}): fix it.") from error
    if not isinstance(found, dict):
        raise BadInput(f"{name}: the front matter must be `key: value` lines, got a {type(found).__name__}: fix it.")
    return {str(key): _to_json(value) for key, value in found.items()}, match.end()


def _to_json(value: Any) -> Any:
    """Return a value of YAML as JSON can hold it; dates as ISO 8601 texts."""
    if isinstance(value, dict):
        return {str(key): _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_to_json(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    finite = not isinstance(value, float) or value - value == 0
    return value if finite and isinstance(value, str | int | float | bool | None) else str(value)


def _find_headings(text: str, start: int) -> Iterator[Heading]:
    """Yield the headings outside code fences: marked with # or underlined (CommonMark 4.2 and 4.3)."""
    fence, paragraph = "", -1
    for match in _LINE.finditer(text, start):
        line = match[0].rstrip("\r\n")
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            continue
        if mark:
            fence, paragraph = mark[1], -1
            continue
        heading, underline = _HEADING.match(line), _UNDERLINE.match(line)
        if heading:
            yield match.start(), len(heading[1]), (heading[2] or "").strip()
            paragraph = -1
        elif underline and paragraph >= 0:
            yield paragraph, 1 if underline[1][0] == "=" else 2, " ".join(text[paragraph : match.start()].split())
            paragraph = -1
        elif not line.strip():
            paragraph = -1
        elif paragraph < 0 and _PARAGRAPH.match(line):
            paragraph = match.start()


def _build_sections(text: str, start: int, title: str, headings: list[Heading]) -> Iterator[DocumentSection]:
    """Yield a section from each heading to the next; one without a body joins the next one."""
    starts = [start, *(place for place, _, _ in headings)]
    titles = [title, *_heading_paths(headings)]
    begin = start
    for i, (own, end, heading) in enumerate(zip(starts, [*starts[1:], len(text)], titles, strict=True)):
        body = _LINE.match(text, own).end() if i else own  # type: ignore[union-attr]
        if end < len(text) and not text[body:end].strip(" \t\r\n=-"):
            continue
        if text[begin:end].strip():
            yield DocumentSection(begin, end, heading)
        begin = end


def _heading_paths(headings: list[Heading]) -> Iterator[str]:
    """Yield each heading with those above it: "Install > Linux"."""
    path: list[tuple[int, str]] = []
    for _, level, text in headings:
        while path and path[-1][0] >= level:
            path.pop()
        path.append((level, text))
        yield " > ".join(each for _, each in path if each)
