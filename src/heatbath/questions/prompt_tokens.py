"""The tokens of prompts: through the chat template of the model, or as they are."""

from __future__ import annotations

from collections.abc import Sequence

from heatbath.errors import BadInput
from heatbath.models.base import ChatModel, Model, Tokens, encode_chat
from heatbath.questions.scored_prompts import Prompt, ScoredPrompt

_PROBE = ({"role": "user", "content": "a"},)


def has_chat_template(model: Model) -> bool:
    """Return true if the model can be given chat messages."""
    if not isinstance(model, ChatModel):
        return False
    try:
        model.encode_chat(_PROBE)
    except BadInput:
        return False
    return True


def encode_prompt(model: Model, prompt: Prompt, *, chat: bool = False, system: str | None = None) -> tuple[int, ...]:
    """Return the tokens of a prompt; messages, and with `chat` texts too, go through the chat template of the model.

    Args:
        model: any model.
        prompt: a text, which is one user turn with `chat`, or chat messages.
        chat: wrap texts by the chat template.
        system: a system message in front, for prompts without one of their own.

    Raises:
        BadInput: the prompt is for a chat, and the model has no chat template.
    """
    if isinstance(prompt, str):
        if not chat:
            return tuple(model.encode(prompt))
        prompt = [{"role": "user", "content": prompt}]
    if system is not None and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    return tuple(encode_chat(model, prompt))


def encode_scored_prompts(
    model: Model, items: Sequence[ScoredPrompt], max_tokens: int, *, chat: bool, system: str | None
) -> list[Tokens]:
    """Return the tokens of the prompts of a file.

    Raises:
        BadInput: a prompt does not fit the model, or leaves no room for `max_tokens`; the message names its line.
    """
    encoded: list[Tokens] = []
    for item in items:
        place = f"{item.place}: " if item.place else ""
        try:
            encoded.append(encode_prompt(model, item.prompt, chat=chat, system=system))
        except BadInput as error:
            raise BadInput(f"{place}{error}") from error
        if model.context_length is not None and len(encoded[-1]) + max_tokens > model.context_length + 1:
            raise BadInput(
                f"{place}a prompt of {len(encoded[-1])} tokens and {max_tokens} more do not fit the context of "
                f"{model.context_length}: shorten the prompt, or lower the length."
            )
    return encoded
