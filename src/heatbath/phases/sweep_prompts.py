"""The built-in prompts of a sweep, and the prompt of each of its texts."""

from __future__ import annotations

import numpy as np

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
