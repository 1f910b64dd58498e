"""The ids of conversations by the model's chat template: ours against those of `transformers`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heatbath.errors import BadInput

CONVERSATIONS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", "Hello world"),),
    (("user", "\n\n1. a line end first"),),
    (("user", " a space first, and last "), ("assistant", "def f(x):\n    return x"), ("user", "é 日本 42")),
    (("system", "Answer in one word."), ("user", "Is 7 prime?")),
)
"""Contents without control tokens, for which the ids must be the same."""


def find_template_differences(tokenizer: Any) -> tuple[int, list[str]]:
    """Return how many conversations the template takes, and a sentence for each whose ids differ.

    `tokenizer` is a `ModelTokenizer` with a template. A conversation that the template refuses is left out.
    """
    taken, differences = 0, []
    for messages in _iterate_messages():
        try:
            ours = tokenizer.encode_chat(messages)
        except BadInput:
            continue
        theirs = tokenizer.fast_tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False
        )
        taken += 1
        if ours != list(theirs):
            place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), -1)
            differences.append(
                f"{messages[0]['content']!r}: {len(ours)} ids, transformers gives {len(theirs)}, the first other is "
                f"number {place}"
            )
    return taken, differences


def _iterate_messages() -> Iterator[list[Mapping[str, Any]]]:
    for conversation in CONVERSATIONS:
        yield [{"role": role, "content": content} for role, content in conversation]
