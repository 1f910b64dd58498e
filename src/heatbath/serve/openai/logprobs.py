"""Log-probabilities in the formats of the API."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence

from heatbath.engine.base import Token
from heatbath.serve.openai.outputs import TokenTexts
from heatbath.serve.openai.schema.response_bodies import (
    ChatLogprobs,
    LogprobArrays,
    PromptLogprob,
    PromptLogprobs,
    TokenLogprob,
    TopLogprob,
)

NEGATIVE_INFINITY = -9999.0
"""Stands for minus infinity, which JSON does not have."""


def chat_logprobs(tokens: Sequence[Token], texts: TokenTexts, top: int) -> ChatLogprobs:
    """Return one entry per token, each with the `top` most probable tokens."""
    return ChatLogprobs(content=[_token_logprob(token, texts, top) for token in tokens])


def _token_logprob(token: Token, texts: TokenTexts, top: int) -> TokenLogprob:
    text, encoded = texts.text_and_bytes(token.id)
    return TokenLogprob(
        text, _finite(token.logprob), encoded, [_top(*pair, texts) for pair in token.top_logprobs[:top]]
    )


def _top(token: int, logprob: float, texts: TokenTexts) -> TopLogprob:
    text, encoded = texts.text_and_bytes(token)
    return TopLogprob(text, _finite(logprob), encoded)


def _finite(value: float | None) -> float:
    return NEGATIVE_INFINITY if value is None or not math.isfinite(value) else value


class CompletionLogprobs:
    """Builds the parallel arrays of completions, with the `top` most probable tokens.

    `text_offset` counts characters of the text. A token that is part of a character has the offset of the character,
    and a special token, which has no text, that of the token after it.
    """

    def __init__(self, texts: TokenTexts, top: int) -> None:
        self._texts, self._top = texts, top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def append(self, tokens: Sequence[Token]) -> LogprobArrays:
        """Return the arrays of the next tokens; a token with nothing before it has null for its log-probabilities."""
        arrays = LogprobArrays([], [], [], [])
        for token in tokens:
            scored = token.logprob is not None
            arrays.tokens.append(self._texts.text(token.id))
            arrays.token_logprobs.append(_finite(token.logprob) if scored else None)
            arrays.top_logprobs.append(self._top_by_text(token) if scored else None)
            arrays.text_offset.append(self._offset)
            self._advance(token.id)
        return arrays

    def _advance(self, token: int) -> None:
        language = self._texts.language
        if token not in language.vocabulary.special_token_ids:
            self._offset += len(self._decoder.decode(language.token_bytes(token)))

    def _top_by_text(self, token: Token) -> dict[str, float]:
        """Return the most probable tokens by text, and the token itself; of two with one text the more probable."""
        by_text: dict[str, float] = {}
        for other, value in [*token.top_logprobs[: self._top], (token.id, token.logprob)]:
            by_text.setdefault(self._texts.text(other), _finite(value))
        return by_text


def prompt_logprobs(tokens: Sequence[Token], texts: TokenTexts, top: int) -> PromptLogprobs:
    """Return for each token of a prompt, by id: the token itself and the `top` most probable; null for the first."""
    return [None if token.logprob is None else _with_ranks(token, texts, top) for token in tokens]


def _with_ranks(token: Token, texts: TokenTexts, top: int) -> dict[str, PromptLogprob]:
    ranks = {str(other): rank for rank, (other, _) in enumerate(token.top_logprobs, start=1)}
    entries = {
        str(other): PromptLogprob(_finite(value), ranks[str(other)], texts.text(other))
        for other, value in token.top_logprobs[:top]
    }
    own = str(token.id)
    return entries | {own: PromptLogprob(_finite(token.logprob), ranks.get(own), texts.text(token.id))}
