"""Chat templates rendered so that control tokens in the texts of a conversation are read as text."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, Tokenizer

from heatbath.models.hf.tokenizer_parts import copy_tokenizer

Render = Callable[[Any, Any], str]
ChangeText = Callable[[str, bool], str]

_PRIVATE_USE = range(0xE000, 0xF900)
# Within tools and calls, templates look such texts up and compare them, and no control token begins in one.
_PLAIN_WORD = re.compile(r"[\w-]*")


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text.

    Attributes:
        text: the rendered template. A character of `marks` stands within each control token that is to be read as text.
        marks: characters that occur in neither texts nor template.
    """

    text: str
    marks: str

    @property
    def has_marks(self) -> bool:
        """True if a part of the text must not be read as a control token."""
        return any(mark in self.text for mark in self.marks)


class ControlTexts:
    """The control tokens of a tokenizer as texts; `added` are all its added tokens by id."""

    def __init__(self, backend: Tokenizer, added: Mapping[int, AddedToken]) -> None:
        self._backend = backend
        self._special = {entry.content: (token, entry) for token, entry in added.items() if entry.special}
        contents = sorted((entry.content for entry in added.values() if entry.content), key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, contents)) or r"(?!)")
        self._starts = re.compile(
            f"(?=(?:{'|'.join(re.escape(content) for content in contents if content in self._special) or '(?!)'}))(.)",
            re.DOTALL,
        )
        first = "".join({re.escape(content[0]) for content in self._special if content})
        self._first_characters = re.compile(f"[{first}]" if first else r"(?!)")

    def render_chat(
        self, render: Render, messages: Sequence[Any], tools: Any, *, is_open: bool = False
    ) -> RenderedChat:
        """Render a conversation by `render`, a function of messages and tools.

        Control tokens in the texts are broken by a mark. A control token may also come into being where a text meets
        the template's own text, or where the template puts two texts together: rendered once more, with marks at all
        places where one could begin or end, the template then has fewer of them, and that rendering is returned.
        `is_open` cuts the text off after the last message, whose last spaces stay unless the template strips them.
        """
        inner, border, end = marks = _choose_marks([messages, tools, self._added.pattern])
        if is_open:
            *before, last = messages
            messages = [*before, {**last, "content": f"{last['content']}{end} "}]

        def render_marked(mark_text: ChangeText) -> str:
            text = render(_map_texts(messages, mark_text), _map_texts(tools, mark_text))
            return _cut_after(text, end) if is_open else text

        def break_whole(text: str, _: bool) -> str:
            return self._starts.sub(rf"\1{inner}", text)

        def break_parts(text: str, is_field: bool) -> str:
            if not is_field and _PLAIN_WORD.fullmatch(text):
                return text
            start = len(text) - len(text.lstrip())
            return text[:start] + border + self._first_characters.sub(rf"\g<0>{inner}", text[start:])

        text, strict = render_marked(break_whole), render_marked(break_parts)
        if self._find_control_texts(text, inner) != self._find_control_texts(strict, inner):
            text = strict
        return RenderedChat(text, "".join(marks))

    def encode_chat(self, chat: RenderedChat) -> list[int]:
        """Return the tokens of a text with marks: its control tokens are those without a mark."""

        def replace_match(match: re.Match[str]) -> str:
            is_control = match[0] in self._special and chat.text[match.end() : match.end() + 1] != chat.marks[0]
            return self._stand_ins[match[0]] if is_control else match[0]

        text = self._added.sub(replace_match, chat.text).translate(dict.fromkeys(map(ord, chat.marks)))
        tokenizer, ids = self._tokenizer_of_stand_ins
        return [ids.get(token, token) for token in tokenizer.encode(text, add_special_tokens=False).ids]

    def _find_control_texts(self, text: str, inner: str) -> list[str]:
        found = self._added.finditer(text)
        return [
            match[0] for match in found if match[0] in self._special and text[match.end() : match.end() + 1] != inner
        ]

    @cached_property
    def _stand_ins(self) -> dict[str, str]:
        """Texts that stand for control tokens in `_tokenizer_of_stand_ins`. No conversation can hold them: random."""
        nonce = secrets.token_hex(16)
        return {content: f"\U000f0000{nonce}:{token}\U000f0001" for content, (token, _) in self._special.items()}

    @cached_property
    def _tokenizer_of_stand_ins(self) -> tuple[Tokenizer, dict[int, int]]:
        """A copy of the tokenizer that reads control tokens as text and stand-ins as control tokens, by their ids."""
        copy = copy_tokenizer(self._backend)
        options = {
            content: {"lstrip": entry.lstrip, "rstrip": entry.rstrip} for content, (_, entry) in self._special.items()
        }
        copy.add_tokens(
            [
                AddedToken(stand_in, special=False, normalized=False, **options[content])
                for content, stand_in in self._stand_ins.items()
            ]
        )
        ids = {copy.token_to_id(text): self._special[content][0] for content, text in self._stand_ins.items()}
        return copy, {token: control for token, control in ids.items() if token is not None}


def _map_texts(value: Any, change: ChangeText, *, is_field: bool = False) -> Any:
    """Return the value with all its texts changed, also the names in mappings, but not the role of a message.

    `change` takes a text, and True if it is itself a field of a message; `is_field` says so of this value.
    """
    if isinstance(value, str):
        return change(value, is_field)
    if isinstance(value, Mapping):
        if "role" in value and "content" in value:
            rest = {name: _map_texts(inner, change, is_field=True) for name, inner in value.items() if name != "role"}
            return {"role": value["role"], **rest}
        return {_map_texts(name, change): _map_texts(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_map_texts(inner, change) for inner in value]
    return value


def _choose_marks(values: Any) -> tuple[str, str, str]:
    """Return three characters for private use that none of the texts has."""
    used: set[str] = set()
    _map_texts(values, lambda text, _: used.update(text) or text)  # type: ignore[func-returns-value]
    free = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
    return next(free), next(free), next(free)


def _cut_after(text: str, end: str) -> str:
    """Return the text before the last `end`; all of it if the template leaves the last message out."""
    if end not in text:
        return text
    cut = text.rindex(end)
    return text[:cut] if text[cut + 1 : cut + 2] == " " else text[:cut].rstrip()
