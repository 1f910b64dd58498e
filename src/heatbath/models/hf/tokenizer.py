"""Encoding of texts and conversations into tokens, with control tokens read as text, and the bytes of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from heatbath.errors import BadInput, ModelError
from heatbath.models.hf.template_placeholders import TemplatePlaceholders

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_MARK = "\u2581"
_ROLE_PATTERN = re.compile(r"[A-Za-z_-]{1,32}")

ChatEnd = Literal["answer", "closed", "open"]


class ModelTokenizer:
    """A fast tokenizer of `transformers`; `prepend` goes before every text unless the tokenizer adds it already."""

    def __init__(self, tokenizer: Any, prepend: Sequence[int] = ()) -> None:
        self.fast_tokenizer = tokenizer
        self.prepended_token_ids = tuple(prepend)
        if (
            self.prepended_token_ids
            and tuple(tokenizer("")["input_ids"][: len(self.prepended_token_ids)]) == self.prepended_token_ids
        ):
            self.prepended_token_ids = ()

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, with control tokens in it split like any other text."""
        if not isinstance(text, str):
            raise BadInput(f"`encode` takes a str, got {type(text).__name__}.")
        ids = self.fast_tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]
        return [*self.prepended_token_ids, *map(int, ids)]

    @property
    def takes_tools(self) -> bool:
        """True if the template describes tools to the model and starts a tool call with `<tool_call>`."""
        template = self.fast_tokenizer.chat_template
        return isinstance(template, str) and "tools" in template and "<tool_call>" in template

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        end: ChatEnd = "answer",
        settings: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Return the tokens of a conversation by the model's chat template.

        The template is rendered with a placeholder for each content. The template's own text is encoded with control
        tokens, the contents without, so that no message can speak as another role. The same holds for names, tool
        calls and tools. `end` is "answer" to end where the response starts, "closed" to end after the last message, or
        "open" to end within it, so that it can be continued. `settings` are variables of the template.
        """
        if not self.fast_tokenizer.chat_template:
            raise BadInput("this model has no chat template: give a prompt instead.")
        _validate_messages(messages)
        placeholders = TemplatePlaceholders(
            frozenset(entry.content for entry in self.fast_tokenizer.added_tokens_decoder.values())
        )
        safe_messages = [placeholders.mark_message(message) for message in messages]
        safe_tools = [placeholders.mark_value(tool) for tool in tools] or None
        text = self._render_template(safe_messages, safe_tools, end, settings or {})
        if end == "open" and safe_messages:
            last = str(safe_messages[-1]["content"])
            text = text[: text.rindex(last) + len(last)] if last in text else text
        return self._encode_rendered(text, placeholders)

    def _render_template(self, messages: Any, tools: Any, end: ChatEnd, settings: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self.fast_tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=end == "answer", **settings
            )
        except TemplateError as error:
            raise BadInput(f"the model's chat template refuses the conversation ({error}): change its order.") from None
        return text

    def _encode_rendered(self, text: str, placeholders: TemplatePlaceholders) -> list[int]:
        tokens: list[int] = []
        for piece, literal in placeholders.split_text(text):
            tokens += self.fast_tokenizer(piece, split_special_tokens=literal, add_special_tokens=False, verbose=False)[
                "input_ids"
            ]
        return tokens

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token: the literal text for a control token, b"" for an id it never produces."""
        return self._vocab_bytes[token] if 0 <= token < len(self._vocab_bytes) else b""

    @cached_property
    def special_token_ids(self) -> frozenset[int]:
        """Ids of control tokens."""
        added = self.fast_tokenizer.added_tokens_decoder
        return frozenset(token for token, entry in added.items() if entry.special)

    @cached_property
    def _vocab_bytes(self) -> list[bytes]:
        spell = _select_byte_spelling(json.loads(self.fast_tokenizer.backend_tokenizer.to_str()).get("decoder"))
        added = {token: entry.content for token, entry in self.fast_tokenizer.added_tokens_decoder.items()}
        names = {token: name for name, token in self.fast_tokenizer.get_vocab().items()}
        table = [b""] * (max(names, default=-1) + 1)
        for token, name in names.items():
            table[token] = added[token].encode() if token in added else spell(name)
        return table


def _validate_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadInput(f"a chat message needs `role` and `content`, both str, got {dict(message)!r:.80}.")
        # A role is part of the template's own text, where control tokens take effect.
        if not _ROLE_PATTERN.fullmatch(role):
            raise BadInput(f"the `role` of a chat message must be a word, got {role!r:.40}.")


def _select_byte_spelling(decoder: Mapping[str, Any] | None) -> Any:
    """Return the function from vocabulary entry to bytes for the decoder of a tokenizer.json."""
    kinds = _collect_decoder_types(decoder)
    if "ByteLevel" in kinds:
        return _byte_level_bytes
    if kinds & {"Metaspace", "ByteFallback", "Replace"}:
        return _sentencepiece_bytes
    if "WordPiece" in kinds:
        return lambda name: (name.removeprefix("##") if name.startswith("##") else " " + name).encode()
    if not kinds:
        return str.encode
    raise ModelError(f"the tokenizer's decoder {sorted(kinds)} is not supported: the bytes of its tokens are unknown.")


def _collect_decoder_types(decoder: Mapping[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    inner = [_collect_decoder_types(part) for part in decoder.get("decoders", [])]
    return {decoder["type"]}.union(*inner)


def _byte_level_bytes(name: str) -> bytes:
    """Return the bytes of an entry of a byte-level vocabulary, which writes each byte as one printable character."""
    if all(character in _BYTE_ALPHABET for character in name):
        return bytes(_BYTE_ALPHABET[character] for character in name)
    return name.encode()


def _sentencepiece_bytes(name: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace(_SPACE_MARK, " ").encode()


def _build_byte_alphabet() -> dict[str, int]:
    """Return the byte of each character: printable bytes are themselves, the others the code points from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_ALPHABET = _build_byte_alphabet()
