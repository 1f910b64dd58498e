"""Ordinary texts that a policy is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heatbath.errors import BadInput, format_value
from heatbath.questions.json_lines import read_json_lines


@dataclass(frozen=True)
class CorpusText:
    """A text, and the document that it comes from: texts of one document are not independent."""

    text: str
    document: str


def read_corpus(path: Path, *, limit: int | None = None) -> list[CorpusText]:
    """Return the texts of a file of JSON lines with "text", and "document" where several come from one.

    With `limit`, that many at equal distances through the file.

    Raises:
        BadInput: the file cannot be read, or a line has no text.
    """
    texts = [_read_text(place, row) for place, row in read_json_lines(path, "texts")]
    if limit is None or limit >= len(texts):
        return texts
    return [texts[number * len(texts) // limit] for number in range(limit)]


def document_numbers(corpus: Sequence[CorpusText]) -> list[int]:
    """Return the number of the document of each text, from 0."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(each.document, len(numbers)) for each in corpus]


def _read_text(place: str, row: dict[str, object]) -> CorpusText:
    text, document = row.get("text"), row.get("document", place)
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f'{place}: expected "text" with a text, got {format_value(text)}: fix the line.')
    return CorpusText(text, str(document))
