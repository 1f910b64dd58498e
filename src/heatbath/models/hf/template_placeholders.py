"""Placeholders in a rendered chat template: where texts of users go, so that they are read as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACEHOLDER = re.compile("(\ue000[cg][0-9]+\ue001)")
_PLAIN_TEXT = re.compile(r"[\w .,:;!?()'/+-]*")


@dataclass
class TemplatePlaceholders:
    """Texts by their placeholder. `control` are the texts of control tokens.

    Contents always get one. Other texts get one unless they are plain words, since a template may look at them.
    """

    control_texts: frozenset[str] = frozenset()
    texts: dict[str, str] = field(default_factory=dict)

    def mark_message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The message with a placeholder for its content."""
        rest = {name: self.mark_value(value) for name, value in message.items() if name not in ("role", "content")}
        return {"role": message["role"], "content": self._add_placeholder(message["content"], "c"), **rest}

    def mark_value(self, value: Any) -> Any:
        """The value with placeholders for what is no plain words, keys too."""
        if isinstance(value, str):
            return value if self._is_plain(value) else self._add_placeholder(value, "g")
        if isinstance(value, Mapping):
            return {self.mark_value(name): self.mark_value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark_value(inner) for inner in value]
        return value

    def split_text(self, text: str) -> Iterator[tuple[str, bool]]:
        """The pieces of a rendered text, and whether each is to be read as text alone."""
        pieces = _PLACEHOLDER.split(text)
        for i, piece in enumerate(pieces):
            if piece not in self.texts:
                yield piece, False
                continue
            found = self.texts[piece]
            quoted = piece[1] == "g" and pieces[i - 1].endswith('"') and pieces[i + 1].startswith('"')
            yield json.dumps(found, ensure_ascii=False)[1:-1] if quoted else found, True

    def _is_plain(self, text: str) -> bool:
        return _PLAIN_TEXT.fullmatch(text) is not None and not any(name in text for name in self.control_texts)

    def _add_placeholder(self, text: str, kind: str) -> str:
        mark = f"\ue000{kind}{len(self.texts)}\ue001"
        self.texts[mark] = text
        return mark
