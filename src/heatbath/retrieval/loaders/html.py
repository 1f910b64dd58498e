"""HTML: its visible text in blocks, a section for each heading, and metadata from `<meta>`."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePath

from heatbath.retrieval.loaders.loaded_document import DocumentSection, LoadedDocument, decode_text, replace_surrogates

_NAME = re.compile(r"\w+")
_INVISIBLE = frozenset({"script", "style", "template", "noscript", "svg", "math", "iframe"})
_VOID = frozenset(_NAME.findall("area base br col embed hr img input link meta source track wbr"))
_BLOCKS = frozenset(
    _NAME.findall(
        "address article aside blockquote body br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 "
        "h6 header hr li main nav ol option p pre section summary table tbody td tfoot th thead tr ul"
    )
)
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))


def load(content: bytes, name: str) -> LoadedDocument:
    """Load the visible text of HTML in UTF-8; offsets are those of that text.

    Raises:
        BadInput: binary data, or another encoding.
    """
    reader = _TextReader()
    reader.feed(decode_text(content, name))
    reader.close()
    text = reader.text()
    title = reader.title() or PurePath(name).name
    return LoadedDocument(text, title, tuple(_build_sections(text, title, reader.headings)), reader.metadata)


def _build_sections(text: str, title: str, headings: list[tuple[int, str]]) -> list[DocumentSection]:
    bounds = [(0, title), *headings]
    ends = [*(place for place, _ in headings), len(text)]
    return [
        DocumentSection(place, end, heading or title)
        for (place, heading), end in zip(bounds, ends, strict=True)
        if text[place:end].strip()
    ]


class _TextReader(HTMLParser):
    """Collects the text of blocks, one line each, an empty line between blocks; `<pre>` keeps its lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.metadata: dict[str, str] = {}
        self.headings: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._length = 0
        self._inline: list[str] = []
        self._title: list[str] = []
        self._hidden: list[str] = []
        self._in_title, self._pre_depth, self._in_heading = False, 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            self._read_meta(dict(attrs))
        elif tag in _INVISIBLE:
            self._hidden.append(tag)
        elif tag == "title" and not self._hidden:
            self._in_title = True
        elif tag in _BLOCKS:
            self._end_block()
            self._pre_depth += tag == "pre"
            self._in_heading = tag in _HEADINGS or (tag == "br" and self._in_heading)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _INVISIBLE:
            self.handle_starttag(tag, attrs)
            if tag not in _VOID:
                self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:
                del self._hidden[self._hidden.index(tag) :]
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self._end_block()
            self._pre_depth = max(0, self._pre_depth - (tag == "pre"))
            self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._hidden:
            self._inline.append(data)

    def close(self) -> None:
        super().close()
        self._end_block()

    def text(self) -> str:
        """Return the blocks, an empty line between them."""
        return "\n\n".join(self._blocks)

    def title(self) -> str:
        """Return the content of `<title>`, on one line."""
        return replace_surrogates(" ".join("".join(self._title).split()))

    def _read_meta(self, attributes: dict[str, str | None]) -> None:
        name, content = attributes.get("name"), attributes.get("content")
        if name and content and not self._hidden:
            self.metadata[replace_surrogates(name.lower())] = replace_surrogates(content)

    def _end_block(self) -> None:
        raw = replace_surrogates("".join(self._inline))
        self._inline.clear()
        block = raw.strip("\r\n") if self._pre_depth else " ".join(raw.split())
        if not block.strip():
            return
        start = self._length + 2 * bool(self._blocks)
        if self._in_heading:
            self.headings.append((start, " ".join(block.split())))
        self._blocks.append(block)
        self._length = start + len(block)
