"""The stand-in for the tokenizer of a model that was loaded without one: token ids alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.errors import BadInput

_ID = re.compile(r"<(\d{1,9})>")
_IDS = re.compile(rf"(?:{_ID.pattern})*")


class TokenIds:
    """The text of token 17 is `<17>`, so that no text is silently empty; other texts are refused."""

    fast_tokenizer = None
    prepended_token_ids: tuple[int, ...] = ()
    special_token_ids: frozenset[int] = frozenset()
    takes_tools = False

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the ids of a text such as `<17><4>`. Raises `BadInput` for any other."""
        if not isinstance(text, str) or not _IDS.fullmatch(text):
            raise BadInput(
                "the model was loaded with tokenizer=False: give token ids, or a text such as '<17><4>', "
                f"got {text!r:.40}."
            )
        return [int(token) for token in _ID.findall(text)]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of a tokenizer that has nothing to configure."""
        return {"tokenizer_class": type(self).__name__}

    def encode_with_control_tokens(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the ids of a text; there are no control tokens."""
        return self.encode(text, document_start=document_start)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Raise `BadInput`: there is no tokenizer."""
        raise BadInput("the model was loaded with tokenizer=False: give token ids instead of a conversation.")

    def token_bytes(self, token: int) -> bytes:
        """Return the id in angle brackets."""
        return f"<{token}>".encode()
