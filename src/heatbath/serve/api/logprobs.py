"""Log-probabilities in the shapes of the API."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from heatbath.engine.base import ModelInfo, Token
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

    language: ModelInfo
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


def chat_logprobs(tokens: Sequence[Token], spell: Speller, top: int) -> ChatLogprobs:
    """One entry a token, each with the `top` most probable."""
    return ChatLogprobs(content=[_entry(token, spell, top) for token in tokens])


def _entry(token: Token, spell: Speller, most: int) -> TokenLogprob:
    text, spelled = spell(token.id)
    top = [TopLogprob(*_named(other, value, spell)) for other, value in token.top_logprobs[:most]]
    return TokenLogprob(text, _finite(token.logprob), spelled, top)


def _named(token: int, value: float, spell: Speller) -> tuple[str, float, list[int]]:
    text, spelled = spell(token)
    return text, _finite(value), spelled


def _finite(value: float | None) -> float:
    return LEAST if value is None or not math.isfinite(value) else value


class Legacy:
    """The parallel arrays of completions, with the `top` most probable tokens.

    `text_offset` counts characters of the text; a token that is part of a character has the place of the character,
    and one that stands for no text that of what follows.
    """

    def __init__(self, spell: Speller, top: int) -> None:
        self._spell, self._top = spell, top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def __call__(self, tokens: Sequence[Token]) -> LegacyLogprobs:
        """The arrays of the next tokens; a token with nothing before it has null for its log-probabilities."""
        found = LegacyLogprobs([], [], [], [])
        for token in tokens:
            found.tokens.append(self._spell.text(token.id))
            found.token_logprobs.append(None if token.logprob is None else _finite(token.logprob))
            found.top_logprobs.append(None if token.logprob is None else self._most(token))
            found.text_offset.append(self._offset)
            self._pass(token.id)
        return found

    def _pass(self, token: int) -> None:
        language = self._spell.language
        if token not in language.vocabulary.special_token_ids:
            self._offset += len(self._decoder.decode(language.token_bytes(token)))

    def _most(self, token: Token) -> dict[str, float]:
        """The most probable tokens by text, and the token itself; of two with one text the more probable."""
        found: dict[str, float] = {}
        for other, value in [*token.top_logprobs[: self._top], (token.id, token.logprob)]:
            found.setdefault(self._spell.text(other), _finite(value))
        return found


def prompt_logprobs(tokens: Sequence[Token], spell: Speller, top: int) -> PromptLogprobs:
    """By token id, for each token of a prompt: the token itself and the `top` most probable; null for the first."""
    return [None if token.logprob is None else _ranked(token, spell, top) for token in tokens]


def _ranked(token: Token, spell: Speller, top: int) -> dict[str, PromptLogprob]:
    ranks = {str(other): rank for rank, (other, _) in enumerate(token.top_logprobs, start=1)}
    found = {
        str(other): PromptLogprob(_finite(value), ranks[str(other)], spell.text(other))
        for other, value in token.top_logprobs[:top]
    }
    own = str(token.id)
    return found | {own: PromptLogprob(_finite(token.logprob), ranks.get(own), spell.text(token.id))}
