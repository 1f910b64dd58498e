"""Placeholders for user text in a chat template, so that control tokens in it are read as text."""

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
    """The texts behind placeholders, by placeholder; `control_texts` are the texts of control tokens.

    Message contents always get a placeholder. Other texts get one unless they are plain words, because a template may
    compare them.
    """

    control_texts: frozenset[str] = frozenset()
    texts: dict[str, str] = field(default_factory=dict)

    def mark_message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the message with a placeholder for its content."""
        rest = {name: self.mark_value(value) for name, value in message.items() if name not in ("role", "content")}
        return {"role": message["role"], "content": self._add_placeholder(message["content"], "c"), **rest}

    def mark_value(self, value: Any) -> Any:
        """Return the value with placeholders for all texts and keys that are not plain words."""
        if isinstance(value, str):
            return value if self._is_plain(value) else self._add_placeholder(value, "g")
        if isinstance(value, Mapping):
            return {self.mark_value(name): self.mark_value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark_value(inner) for inner in value]
        return value

    def split_text(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield the pieces of a rendered text, each with True if it must be encoded without control tokens."""
        pieces = _PLACEHOLDER.split(text)
        for i, piece in enumerate(pieces):
            if piece not in self.texts:
                yield piece, False
                continue
            text_behind = self.texts[piece]
            in_quotes = piece[1] == "g" and pieces[i - 1].endswith('"') and pieces[i + 1].startswith('"')
            yield json.dumps(text_behind, ensure_ascii=False)[1:-1] if in_quotes else text_behind, True

    def _is_plain(self, text: str) -> bool:
        return _PLAIN_TEXT.fullmatch(text) is not None and not any(name in text for name in self.control_texts)

    def _add_placeholder(self, text: str, kind: str) -> str:
        mark = f"\ue000{kind}{len(self.texts)}\ue001"
        self.texts[mark] = text
        return mark
