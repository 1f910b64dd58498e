"""How many tokens an answer may have: what is asked for, what the context leaves, what the server allows."""

from __future__ import annotations

from collections.abc import Sequence

from heatbath.engine.base import ModelInfo
from heatbath.serve.errors import ApiError, invalid_value


def room(language: ModelInfo, prompts: Sequence[Sequence[int]], limit: int, param: str) -> int:
    """The most tokens that each answer to `prompts` may have, at most `limit`.

    Raises:
        ApiError: 400, a prompt is longer than the context.
    """
    context = language.context_length
    longest = max(map(len, prompts))
    if context is None:
        return limit
    if longest > context:
        message = f"the prompt has {longest} tokens and the context of {language.name} {context}: shorten it."
        raise ApiError(400, message, code="context_length_exceeded", param=param)
    # The last token drawn need not be read again.
    return min(limit, context - longest + 1)


def allowed(asked: int | None, most: int, limit: int, param: str, default: int | None = None) -> int:
    """The tokens of an answer: what was `asked`, else `default`, else all that fit.

    Raises:
        ApiError: 400 for more than fit or are allowed.
    """
    if asked is None:
        return most if default is None else min(default, most)
    if asked > limit:
        raise invalid_value(f"{param} is {asked}: this server gives at most {limit}.", param)
    if asked > most:
        message = f"{param} is {asked}, and after the prompt the context has room for {most}: ask for at most that."
        raise ApiError(400, message, code="context_length_exceeded", param=param)
    return asked
