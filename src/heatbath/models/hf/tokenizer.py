"""Encoding of texts and conversations into tokens, with control tokens read as text, and the bytes of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from tokenizers import Tokenizer

from heatbath.errors import BadInput
from heatbath.models.hf.control_texts import ControlTexts, RenderedChat
from heatbath.models.hf.tokenizer_parts import copy_tokenizer, describe_tokenizer, select_byte_spellings

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

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the tokens of a text, with control tokens in it split like any other text.

        With `document_start=False` the text is a fragment: no control token is added, and no space before its first
        word, so that the bytes of the tokens are those of the text.
        """
        if not isinstance(text, str):
            raise BadInput(f"`encode` takes a str, got {type(text).__name__}.")
        if not document_start:
            return list(self._fragment_tokenizer.encode(text, add_special_tokens=False).ids)
        ids = self.fast_tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]
        return [*self.prepended_token_ids, *map(int, ids)]

    def encode_with_control_tokens(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the tokens of a text as `transformers` reads it: control tokens in it take effect.

        `document_start=False` adds no control tokens. For texts that are trusted, such as rendered chat templates.
        """
        if not isinstance(text, str):
            raise BadInput(f"`encode_with_control_tokens` takes a str, got {type(text).__name__}.")
        options = {"add_special_tokens": document_start, "split_special_tokens": False, "verbose": False}
        ids = self.fast_tokenizer(text, **options)["input_ids"]
        return [*(self.prepended_token_ids if document_start else ()), *map(int, ids)]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the tokenizer, ready for JSON: control tokens as texts, and no paths."""
        return describe_tokenizer(self.fast_tokenizer)

    @cached_property
    def _fragment_tokenizer(self) -> Tokenizer:
        """A copy of the tokenizer that puts no space before a text and reads control tokens as text."""
        return copy_tokenizer(self.fast_tokenizer.backend_tokenizer, keeps_first_space=False)

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

        These are the ids that `apply_chat_template(tokenize=True)` gives, except that control tokens in contents,
        names, tool calls and tools are read as text, so that no message can speak as another role. `end` is "answer" to
        end where the response starts, "closed" to end after the last message, or "open" to end within it, so that it
        can be continued. `settings` are variables of the template.
        """
        if not self.fast_tokenizer.chat_template:
            raise BadInput("this model has no chat template: give a prompt instead.")
        _validate_messages(messages)

        def render(safe_messages: Any, safe_tools: Any) -> str:
            return self._render_template(safe_messages, safe_tools or None, end, settings or {})

        is_open = end == "open" and bool(messages)
        return self._encode_rendered(
            self._control_texts.render_chat(render, list(messages), list(tools), is_open=is_open)
        )

    def _render_template(self, messages: Any, tools: Any, end: ChatEnd, settings: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self.fast_tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=end == "answer", **settings
            )
        except TemplateError as error:
            raise BadInput(f"the model's chat template refuses the conversation ({error}): change its order.") from None
        return text

    def _encode_rendered(self, chat: RenderedChat) -> list[int]:
        if chat.has_marks:
            return self._control_texts.encode_chat(chat)
        ids = self.fast_tokenizer(chat.text, add_special_tokens=False, verbose=False)["input_ids"]
        return list(map(int, ids))

    @cached_property
    def _control_texts(self) -> ControlTexts:
        return ControlTexts(self.fast_tokenizer.backend_tokenizer, self.fast_tokenizer.added_tokens_decoder)

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
        spell, spell_added = select_byte_spellings(self.fast_tokenizer.backend_tokenizer.to_str())
        added = self.fast_tokenizer.added_tokens_decoder
        names = {token: name for name, token in self.fast_tokenizer.get_vocab().items()}
        table = [b""] * (max(names, default=-1) + 1)
        for token, name in names.items():
            entry = added.get(token)
            if entry is None:
                table[token] = spell(name)
            else:
                table[token] = entry.content.encode() if entry.special else spell_added(entry.content)
        return table


def _validate_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadInput(f"a chat message needs `role` and `content`, both str, got {dict(message)!r:.80}.")
        # A role is part of the template's own text, where control tokens take effect.
        if not _ROLE_PATTERN.fullmatch(role):
            raise BadInput(f"the `role` of a chat message must be a word, got {role!r:.40}.")
