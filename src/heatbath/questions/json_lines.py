"""Files of JSON lines: one object per line, each with its place for messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput


def read_json_lines(path: str | Path, content: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects of a file of JSON lines, each with its place for messages; blank lines are skipped.

    Args:
        path: the file, in UTF-8.
        content: what its lines hold, as a message about an empty file calls it.

    Raises:
        BadInput: the file cannot be read or is empty, or a line is no JSON object.
    """
    try:
        # Other line ends than this one may stand within a text.
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text ({error}): give JSON lines in UTF-8.") from error
    numbered = [(f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise BadInput(f"{path} has no {content}: give one JSON object per line.")
    return [(place, _parse_object(place, line)) for place, line in numbered]


def _parse_object(place: str, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: not valid JSON ({error.msg} at column {error.colno}): fix or remove it.") from error
    except RecursionError:
        raise BadInput(f"{place}: the JSON is nested too deeply: fix or remove it.") from None
    if not isinstance(entry, dict):
        raise BadInput(f"{place}: expected a JSON object {{...}}, got {line.strip()[:40]!r}.")
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadInput(f"{place}: a text has half of a surrogate pair, which no encoding can write: fix it.") from None
    return entry
