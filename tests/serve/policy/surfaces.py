"""Everything that can be read off what a server sends or stores: also texts in pieces, and as bytes or token ids."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from heatbath.serve.dashboard.serializers import serialize_outcome, summarize_outcome
from heatbath.serve.interfaces import RequestOutcome
from heatbath.serve.storage.row_codec import to_json

Path = tuple[Any, ...]


def read_texts(values: Any) -> Iterator[str]:
    """Yield all texts in JSON values, joined over all that stand at the same place: events, tokens, bytes, ids."""
    texts: defaultdict[Path, str] = defaultdict(str)
    numbers: defaultdict[Path, bytearray] = defaultdict(bytearray)
    for value in values:
        _collect(value, (), texts, numbers)
    yield from texts.values()
    for found in numbers.values():
        yield found.decode("utf-8", "replace")


def _collect(value: Any, path: Path, texts: Any, numbers: Any) -> None:
    if isinstance(value, str):
        texts[path] += value
    elif isinstance(value, bool):
        return
    elif isinstance(value, int) and 0 <= value < 256:
        numbers[path].append(value)
    elif isinstance(value, list):
        for i, each in enumerate(value):
            # Answers and records are those of choices, and no pieces of one text.
            is_apart = path[-1:] in (("answers",), ("records",))
            _collect(each, (*path, i) if is_apart else path, texts, numbers)
    elif isinstance(value, dict):
        place = (*path, value["index"]) if isinstance(value.get("index"), int) else path
        for name, each in value.items():
            texts[(*place, "names")] += name
            _collect(each, (*place, name), texts, numbers)


def read_outcome(outcome: RequestOutcome) -> Iterator[str]:
    """Yield all texts of an outcome: as it is stored, and as the page shows it."""
    stored = {"content": outcome.content, "records": outcome.records, "summary": outcome.summary}
    shown = [serialize_outcome(outcome), summarize_outcome(outcome)]
    for value in (stored, outcome.request.settings, outcome.finish_reasons, outcome.error, *shown):
        encoded = to_json(value)
        yield encoded.decode()
        yield from read_texts([json.loads(encoded)])
