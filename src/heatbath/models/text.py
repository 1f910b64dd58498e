"""Text and tokens of a neural model: control tokens in a text are text, and every token has its bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from heatbath.errors import BadInput, ModelError
from heatbath.models.places import Places

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
_ROLE = re.compile(r"[A-Za-z_-]{1,32}")

End = Literal["answer", "closed", "open"]


class Text:
    """A fast tokenizer of `transformers`; `prepend` goes before every text, unless the tokenizer does so itself."""

    def __init__(self, tokenizer: Any, prepend: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.prepend = tuple(prepend)
        if self.prepend and tuple(tokenizer("")["input_ids"][: len(self.prepend)]) == self.prepend:
            self.prepend = ()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text as the tokenizer makes them, control tokens in it split like any text."""
        if not isinstance(text, str):
            raise BadInput(f"encode takes text, not {type(text).__name__}: give a str.")
        ids = self.tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]
        return [*self.prepend, *map(int, ids)]

    @property
    def takes_tools(self) -> bool:
        """Whether the template tells the model of tools, in the form that begins a call with `<tool_call>`."""
        template = self.tokenizer.chat_template
        return isinstance(template, str) and "tools" in template and "<tool_call>" in template

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        end: End = "answer",
        settings: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Tokens of a conversation by the model's own template, ready for the answer.

        The template is rendered with a placeholder where each content goes; what surrounds them is read with control
        tokens, the contents without, so that no message can speak as another role. The same holds for what else is
        given: names, calls and tools. `end` says where to stop: where the answer begins, after the last message, or
        within it, for one that is to be continued. `settings` are variables of the template.
        """
        if not self.tokenizer.chat_template:
            raise BadInput("this model has no chat template: give a prompt instead.")
        _check_messages(messages)
        places = Places(frozenset(entry.content for entry in self.tokenizer.added_tokens_decoder.values()))
        marked = [places.message(message) for message in messages]
        given = [places.guarded(tool) for tool in tools] or None
        text = self._rendered(marked, given, end, settings or {})
        if end == "open" and marked:
            last = str(marked[-1]["content"])
            text = text[: text.rindex(last) + len(last)] if last in text else text
        return self._around(text, places)

    def _rendered(self, messages: Any, tools: Any, end: End, settings: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=end == "answer", **settings
            )
        except TemplateError as error:
            raise BadInput(f"the model's chat template refuses the conversation ({error}): change its order.") from None
        return text

    def _around(self, text: str, places: Places) -> list[int]:
        tokens: list[int] = []
        for piece, literal in places.split(text):
            tokens += self.tokenizer(piece, split_special_tokens=literal, add_special_tokens=False, verbose=False)[
                "input_ids"
            ]
        return tokens

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token; control tokens give their literal text, ids the tokenizer never makes give none."""
        return self._bytes[token] if 0 <= token < len(self._bytes) else b""

    @cached_property
    def special(self) -> frozenset[int]:
        """Ids of control tokens."""
        added = self.tokenizer.added_tokens_decoder
        return frozenset(token for token, entry in added.items() if entry.special)

    @cached_property
    def _bytes(self) -> list[bytes]:
        spell = _speller(json.loads(self.tokenizer.backend_tokenizer.to_str()).get("decoder"))
        added = {token: entry.content for token, entry in self.tokenizer.added_tokens_decoder.items()}
        names = {token: name for name, token in self.tokenizer.get_vocab().items()}
        table = [b""] * (max(names, default=-1) + 1)
        for token, name in names.items():
            table[token] = added[token].encode() if token in added else spell(name)
        return table


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadInput(f"a chat message needs the texts role and content, not {dict(message)!r:.80}.")
        # A role stands in the frame, where control tokens control.
        if not _ROLE.fullmatch(role):
            raise BadInput(f"the role of a chat message is a word, not {role!r:.40}.")


def _speller(decoder: Mapping[str, Any] | None) -> Any:
    """How a vocabulary entry is spelled in bytes, from the decoder of a tokenizer.json."""
    kinds = _kinds(decoder)
    if "ByteLevel" in kinds:
        return _byte_level
    if kinds & {"Metaspace", "ByteFallback", "Replace"}:
        return _sentencepiece
    if "WordPiece" in kinds:
        return lambda name: (name.removeprefix("##") if name.startswith("##") else " " + name).encode()
    if not kinds:
        return str.encode
    raise ModelError(f"tokens of a tokenizer with the decoder {sorted(kinds)} cannot be turned into bytes.")


def _kinds(decoder: Mapping[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    inner = [_kinds(part) for part in decoder.get("decoders", [])]
    return {decoder["type"]}.union(*inner)


def _byte_level(name: str) -> bytes:
    """Byte-level vocabularies write each byte as one printable character."""
    if all(character in _ALPHABET for character in name):
        return bytes(_ALPHABET[character] for character in name)
    return name.encode()


def _sentencepiece(name: str) -> bytes:
    byte = _BYTE.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace(_SPACE, " ").encode()


def _alphabet() -> dict[str, int]:
    """Printable bytes stand for themselves; the others take the code points from 256 on, in order."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_ALPHABET = _alphabet()
