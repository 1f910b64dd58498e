"""Queries with the documents or passages that answer them, from JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput, format_value
from heatbath.questions.json_lines import read_json_lines
from heatbath.retrieval.manifest import Manifest


@dataclass(frozen=True)
class Judgment:
    """A document that answers a query, or the code points `start` to `end` of it; `grade` is its gain in the nDCG."""

    path: str
    grade: float = 1.0
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class JudgedQuery:
    """A query, what answers it, and the documents that its rankings leave out."""

    query: str
    relevant: tuple[Judgment, ...]
    exclude: frozenset[str] = frozenset()

    @property
    def judges_passages(self) -> bool:
        """True if passages count, False if documents do."""
        return self.relevant[0].start is not None


def read_judged_queries(path: str | Path, manifest: Manifest) -> list[JudgedQuery]:
    """Read judged queries, one JSON object a line: `query`, `relevant` and, if need be, `exclude`.

    `relevant` is a list of paths, an object of paths with grades, or a list of objects with `path`, `grade`, `start`
    and `end`; `exclude` is a list of paths.

    Raises:
        BadInput: a line is not of that form, or names a document that the index lacks.
    """
    paths = {each.path for each in manifest.documents}
    return [_parse_query(place, entry, paths) for place, entry in read_json_lines(path, "judged queries")]


def _parse_query(place: str, entry: Mapping[str, Any], paths: set[str]) -> JudgedQuery:
    query, relevant, exclude = entry.get("query"), entry.get("relevant"), entry.get("exclude", [])
    if not isinstance(query, str) or not query.strip():
        raise BadInput(f"{place}: `query` must be a text, got {format_value(query)}.")
    if isinstance(relevant, dict):
        relevant = [{"path": name, "grade": grade} for name, grade in relevant.items()]
    if not isinstance(relevant, list) or not relevant or not isinstance(exclude, list):
        raise BadInput(f"{place}: `relevant` must be a list of paths, or paths with grades, and `exclude` a list.")
    judgments = tuple(_parse_judgment(place, each) for each in relevant)
    if len({each.start is None for each in judgments}) > 1:
        raise BadInput(f"{place}: `relevant` mixes documents and passages: give `start` and `end` to all or to none.")
    unknown = next((each for each in [*(one.path for one in judgments), *exclude] if each not in paths), None)
    if unknown is not None:
        raise BadInput(f"{place}: the index has no document {unknown!r}: add it, or correct the path.")
    return JudgedQuery(query, judgments, frozenset(exclude))


def _parse_judgment(place: str, value: Any) -> Judgment:
    given = {"path": value} if isinstance(value, str) else value
    try:
        judgment = Judgment(**given)
        is_span = judgment.start is not None
        sound = isinstance(judgment.path, str) and 0 < float(judgment.grade) < float("inf")
        sound = sound and is_span == (judgment.end is not None)
        sound = sound and (not is_span or 0 <= int(judgment.start or 0) < int(judgment.end or 0))
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise BadInput(
            f"{place}: each of `relevant` is a path, or has `path`, a `grade` above 0, and `start` below `end`, "
            f"got {format_value(value)}."
        )
    return judgment
