"""The stand-in for the tokenizer of a model that was loaded without one: token ids alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.errors import BadInput


class TokenIds:
    """The text of token 17 is `<17>`, so that no output is silently empty; texts and conversations are refused."""

    fast_tokenizer = None
    prepended_token_ids: tuple[int, ...] = ()
    special_token_ids: frozenset[int] = frozenset()
    takes_tools = False

    def encode(self, text: str) -> list[int]:
        """Raise `BadInput`: there is no tokenizer."""
        raise BadInput("the model was loaded with tokenizer=False: give token ids instead of a text.")

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Raise `BadInput`: there is no tokenizer."""
        raise BadInput("the model was loaded with tokenizer=False: give token ids instead of a conversation.")

    def token_bytes(self, token: int) -> bytes:
        """Return the id in angle brackets."""
        return f"<{token}>".encode()
