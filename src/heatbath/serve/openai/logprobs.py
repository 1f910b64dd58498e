"""Log-probabilities in the formats of the API."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence

from heatbath.engine.base import ModelInfo, Token
from heatbath.serve.openai.outputs import ChoiceOutput, TokenTexts
from heatbath.serve.openai.schema.response_bodies import (
    ChatLogprobs,
    LogprobArrays,
    PromptLogprob,
    PromptLogprobs,
    TokenLogprob,
    TopLogprob,
)
from heatbath.serve.openai.schema.sampling import GenerationRequest

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


class TextOffsets:
    """Counts the characters of a text, token by token. A token that is part of a character begins where that does."""

    def __init__(self, language: ModelInfo) -> None:
        self._language = language
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def advance(self, token: int, *, is_prompt: bool = False) -> int:
        """Return where the next token begins; a special token of a prompt has no text."""
        offset = self._offset
        if not (is_prompt and token in self._language.vocabulary.special_token_ids):
            self._offset += len(self._decoder.decode(self._language.token_bytes(token)))
        return offset


class TextTokens:
    """The tokens of one text that arrives in pieces, from which a stop text may be cut off at its end.

    A token is returned once the text reaches it, so that the tokens end with the text. The token in which a text is
    cut off is its last one, whole.
    """

    def __init__(self, language: ModelInfo) -> None:
        self._offsets = TextOffsets(language)
        self._waiting: list[tuple[int, Token]] = []
        self._length = 0

    def push(self, newest: ChoiceOutput, text: str) -> list[Token]:
        """Return the tokens that `text` reaches, of those that are waiting and `newest`."""
        for token in newest.text_tokens:
            self._waiting.append((self._offsets.advance(token.id), token))
        self._length += len(text)
        is_cut = newest.finish is None or isinstance(newest.stopped, str)
        end = self._length if is_cut else float("inf")
        found = [token for offset, token in self._waiting if offset < end]
        del self._waiting[: len(found)]
        return found


def scored_tokens(output: ChoiceOutput, body: GenerationRequest, texts: TokenTexts) -> Sequence[Token]:
    """Return the tokens of a finished choice whose log-probabilities are returned: those of its text.

    All that were drawn with `return_token_ids`, one for each id; with the stop token where its text is shown.
    """
    if body.return_token_ids or (body.skip_special_tokens is False and isinstance(output.stopped, int)):
        return output.tokens
    return TextTokens(texts.language).push(output, output.text) if body.stop else output.text_tokens


class CompletionLogprobs:
    r"""Builds the parallel arrays of completions, with the `top` most probable tokens.

    `text_offset` counts characters of the text, as `TextOffsets` does. Each token has one key: its text, its bytes
    (`bytes:\xe2\x80`) where they are no whole characters, or its id (`token_id:7`) where the token that was drawn, or
    a more probable one, has the same text.
    """

    def __init__(self, texts: TokenTexts, top: int) -> None:
        self._texts, self._top = texts, top
        self._offsets = TextOffsets(texts.language)

    def append(self, tokens: Sequence[Token], *, prompt: int = 0) -> LogprobArrays:
        """Return the arrays of the next tokens, the first `prompt` of which are of the prompt.

        A token with nothing before it has null for its log-probabilities.
        """
        arrays = LogprobArrays([], [], [], [])
        for place, token in enumerate(tokens):
            scored = token.logprob is not None
            arrays.tokens.append(self._key(token.id))
            arrays.token_logprobs.append(_finite(token.logprob) if scored else None)
            arrays.top_logprobs.append(self._top_by_key(token) if scored else None)
            arrays.text_offset.append(self._offsets.advance(token.id, is_prompt=place < prompt))
        return arrays

    def _top_by_key(self, token: Token) -> dict[str, float]:
        """Return the most probable tokens by key, the most probable first, and the token itself."""
        own = self._key(token.id)
        by_key: dict[str, float] = {}
        for other, value in token.top_logprobs[: self._top]:
            key = self._key(other)
            if other != token.id and (key == own or key in by_key):
                key = f"token_id:{other}"
            by_key.setdefault(key, _finite(value))
        by_key.setdefault(own, _finite(token.logprob))
        return by_key

    def _key(self, token: int) -> str:
        text, encoded = self._texts.text_and_bytes(token)
        if self._texts.by_id or text.encode() == bytes(encoded):
            return text
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in encoded)


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
