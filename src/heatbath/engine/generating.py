"""Generate from prompts: `hb.generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack, cast

from heatbath.engine.generation import Generation
from heatbath.engine.run import Options, Run, Settings
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens
from heatbath.record import Frame, Observer

Prompt = str | Tokens
OnStep = Callable[[Frame], object]


def generate(
    model: Model,
    prompt: Prompt | Sequence[Prompt],
    *,
    n: int = 1,
    on_step: OnStep | None = None,
    observers: Sequence[Observer] = (),
    **settings: Unpack[Options],
) -> Generation:
    """Continue a prompt, or several: text or tokens, each `n` times; the copies of one prompt lie side by side.

    The other arguments are those of `Settings`: temperature (one, or one per row) = 1.0, max_tokens = 128, window,
    fields, sampler = "ancestral", seed = 0, first_row = 0, record = True. Every frame goes to `observers` and to
    `on_step`. Ctrl-C is the caller's; a `Run` keeps what is there.

    Raises:
        BadInput: an unusable prompt or setting.
        NotANumber: the model gave NaN; names the step.
    """
    if n < 1:
        raise BadInput(f"n is {n}: ask for at least 1 sample.")
    prompts = [tokens for tokens in prompt_tokens(model, prompt) for _ in range(n)]
    run = Run(model, prompts, Settings(**settings))
    for frame in run:
        for observer in observers:
            observer.update(frame)
        if on_step is not None:
            on_step(frame)
    return run.result()


def prompt_tokens(model: Model, prompt: Prompt | Sequence[Prompt]) -> list[Tokens]:
    """The prompts as tokens; a flat sequence of integers is one prompt."""
    if isinstance(prompt, str):
        return [_encoded(model, prompt)]
    if all(not isinstance(part, str) and not hasattr(part, "__len__") for part in prompt):
        return [cast(Tokens, prompt)]
    return [_encoded(model, part) if isinstance(part, str) else part for part in cast(Sequence[Prompt], prompt)]


def _encoded(model: Model, text: str) -> Tokens:
    return model.encode(text) if text else []
