"""Placeholders in a rendered chat template: where texts of users go, so that they are read as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACE = re.compile("(\ue000[cg][0-9]+\ue001)")
_PLAIN = re.compile(r"[\w .,:;!?()'/+-]*")


@dataclass
class Places:
    """Texts by their placeholder. `control` are the texts of control tokens.

    Contents always get one. Other texts get one unless they are plain words, since a template may look at them.
    """

    control: frozenset[str] = frozenset()
    texts: dict[str, str] = field(default_factory=dict)

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The message with a placeholder for its content."""
        rest = {name: self.guarded(value) for name, value in message.items() if name not in ("role", "content")}
        return {"role": message["role"], "content": self._place(message["content"], "c"), **rest}

    def guarded(self, value: Any) -> Any:
        """The value with placeholders for what is no plain words, keys too."""
        if isinstance(value, str):
            return value if self._plain(value) else self._place(value, "g")
        if isinstance(value, Mapping):
            return {self.guarded(name): self.guarded(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.guarded(inner) for inner in value]
        return value

    def split(self, text: str) -> Iterator[tuple[str, bool]]:
        """The pieces of a rendered text, and whether each is to be read as text alone."""
        pieces = _PLACE.split(text)
        for i, piece in enumerate(pieces):
            if piece not in self.texts:
                yield piece, False
                continue
            found = self.texts[piece]
            quoted = piece[1] == "g" and pieces[i - 1].endswith('"') and pieces[i + 1].startswith('"')
            yield json.dumps(found, ensure_ascii=False)[1:-1] if quoted else found, True

    def _plain(self, text: str) -> bool:
        return _PLAIN.fullmatch(text) is not None and not any(name in text for name in self.control)

    def _place(self, text: str, kind: str) -> str:
        mark = f"\ue000{kind}{len(self.texts)}\ue001"
        self.texts[mark] = text
        return mark
