"""Log-probabilities in the shapes of the API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from heatbath.engine.base import Language, Token
from heatbath.serve.api.schema.answers import (
    ChatLogprobs,
    LegacyLogprobs,
    PromptLogprob,
    PromptLogprobs,
    TokenLogprob,
    TopLogprob,
)

LEAST = -9999.0
"""Stands for minus infinity."""


@dataclass
class Speller:
    """The texts of tokens, each spelled once. `by_id` names tokens instead, as token_id:7."""

    language: Language
    by_id: bool = False
    known: dict[int, tuple[str, list[int]]] = field(default_factory=dict)

    def __call__(self, token: int) -> tuple[str, list[int]]:
        """Its text, with U+FFFD for a part of a character, and its bytes."""
        found = self.known.get(token)
        if found is None:
            spelled = self.language.token_bytes(token)
            text = f"token_id:{token}" if self.by_id else spelled.decode("utf-8", errors="replace")
            found = self.known[token] = (text, list(spelled))
        return found

    def text(self, token: int) -> str:
        return self(token)[0]


def chat_logprobs(tokens: Sequence[Token], spell: Speller) -> ChatLogprobs:
    """One entry a token."""
    return ChatLogprobs(content=[_entry(token, spell) for token in tokens])


def _entry(token: Token, spell: Speller) -> TokenLogprob:
    text, spelled = spell(token.id)
    top = [TopLogprob(*_named(other, value, spell)) for other, value in token.top]
    return TokenLogprob(text, _finite(token.logprob), spelled, top)


def _named(token: int, value: float, spell: Speller) -> tuple[str, float, list[int]]:
    text, spelled = spell(token)
    return text, _finite(value), spelled


def _finite(value: float | None) -> float:
    return LEAST if value is None or not math.isfinite(value) else value


@dataclass
class Legacy:
    """The parallel arrays of completions. `offset` is where in the text the next token begins, in characters."""

    spell: Speller
    offset: int = 0

    def __call__(self, tokens: Sequence[Token]) -> LegacyLogprobs:
        """The arrays of the next tokens; a token with nothing before it has null for its log-probabilities."""
        found = LegacyLogprobs([], [], [], [])
        for token in tokens:
            text = self.spell.text(token.id)
            found.tokens.append(text)
            found.token_logprobs.append(None if token.logprob is None else _finite(token.logprob))
            found.top_logprobs.append(None if token.logprob is None else self._top(token))
            found.text_offset.append(self.offset)
            self.offset += len(text)
        return found

    def _top(self, token: Token) -> dict[str, float]:
        """The most probable tokens by text; of two with one text the more probable, which comes first."""
        found: dict[str, float] = {}
        for other, value in token.top:
            found.setdefault(self.spell.text(other), _finite(value))
        return found


def prompt_logprobs(tokens: Sequence[Token], spell: Speller) -> PromptLogprobs:
    """By token id, for each token of a prompt: the token itself and the most probable; null for the first."""
    return [None if token.logprob is None else _ranked(token, spell) for token in tokens]


def _ranked(token: Token, spell: Speller) -> dict[str, PromptLogprob]:
    found = {
        str(other): PromptLogprob(_finite(value), rank, spell.text(other))
        for rank, (other, value) in enumerate(token.top, start=1)
    }
    if str(token.id) not in found:
        found[str(token.id)] = PromptLogprob(_finite(token.logprob), None, spell.text(token.id))
    return found
