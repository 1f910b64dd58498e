"""The prompts of a sweep as tokens: through the chat template of the model, or as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatbath.errors import BadInput
from heatbath.models.base import ChatModel, Model, Tokens, encode_chat
from heatbath.phases.scored_prompts import Prompt, ScoredPrompt

BUILT_IN_PROMPTS = (
    "Explain how a bicycle stays upright while it is moving.",
    "Write a short story about a lighthouse keeper who finds a letter.",
    "What should I think about before I adopt a dog?",
    "Describe a walk through a market early in the morning.",
    "Give me a simple recipe for vegetable soup.",
    "Why do leaves change their colour in autumn?",
    "Write a polite email that asks a colleague to move a meeting to Friday.",
    "Compare trains and planes for a journey of 500 kilometres.",
    "How does a refrigerator keep food cold?",
    "Suggest three things to do on a rainy weekend, and say why.",
    "Summarise what a library is for, in a few sentences for a child.",
    "Write a Python function that counts the words of a text, and explain it.",
    "What happened to the price of computers since the 1980s, and why?",
)
"""User turns for chat models when no prompts are given: explanation, story, advice, description, instruction, code."""

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


def assign_prompts(num_prompts: int, seed: int, first_row: int, count: int) -> list[int]:
    """Return the index of the prompt of each row from `first_row` on.

    Every `num_prompts` rows use each prompt once, in an order of their own: rows of one temperature would share
    prompts if the order were always the same.
    """
    if num_prompts == 1:
        return [0] * count
    rounds = range(first_row // num_prompts, (first_row + count - 1) // num_prompts + 1)
    order = np.concatenate([np.random.default_rng([seed, 1, r]).permutation(num_prompts) for r in rounds])
    start = first_row % num_prompts
    return [int(index) for index in order[start : start + count]]
