"""Generate from prompts: `hb.generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, cast

from heatbath.decode.schedules import Schedule
from heatbath.engine.driver import Run
from heatbath.engine.pool_session import find_fast_opener
from heatbath.engine.registry import SAMPLERS
from heatbath.engine.result import Generation
from heatbath.engine.settings import GenerationSettings
from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens
from heatbath.record import Frame, Observer

Prompt = str | Tokens
StepCallback = Callable[[Frame], object]
_SETTINGS_NAMES = frozenset(entry.name for entry in fields(GenerationSettings)) - {"options"}


def generate(
    model: Model,
    prompt: Prompt | Sequence[Prompt],
    *,
    n: int | None = None,
    on_step: StepCallback | None = None,
    observers: Sequence[Observer] = (),
    **settings: Any,
) -> Generation:
    """Continue a prompt, or several: text or tokens, each `n` times; the copies of one prompt lie side by side.

    The other arguments are those of `Settings`: temperature (one, one per row, or a schedule) = 1.0, max_tokens = 128,
    window, fields, potentials, sampler = "ancestral", seed = 0, first_row = 0, record = True; and the options of the
    sampler, such as alpha, particles or chains. Samplers of whole answers take one prompt. Every frame goes to
    `observers` and to `on_step`. Ctrl-C is the caller's; a `Run` keeps what is there.

    Raises:
        BadInput: an unusable prompt or setting; what comes up on the way carries what there is as `.partial`.
        NotANumber: the model or a potential gave NaN; names the step.
    """
    common = {name: settings.pop(name) for name in list(settings) if name in _SETTINGS_NAMES}
    chosen = GenerationSettings(**common, options=settings)
    prompts, chosen = repeat_prompts(encode_prompts(model, prompt), chosen, n)
    run = Run(model, prompts, chosen, opener=find_fast_opener(model))
    for frame in run:
        for observer in observers:
            observer.update(frame)
        if on_step is not None:
            on_step(frame)
    return run.result()


def repeat_prompts(
    prompts: Sequence[Tokens], settings: GenerationSettings, n: int | None
) -> tuple[list[Tokens], GenerationSettings]:
    """Each prompt `n` times; where the sampler itself draws n answers, the prompts as they are.

    A latency budget may allow fewer answers, and shorter ones.

    Raises:
        BadInput: n below 1, or for a sampler that has another name for how many answers it draws.
    """
    n = 1 if n is None else n
    if n < 1:
        raise BadInput(f"n is {n}: ask for at least 1 sample.", param="n")
    if isinstance(settings.temperature, Schedule):
        plan = settings.temperature.plan(n * len(prompts), settings.max_tokens)
        n, settings = max(1, plan.samples // len(prompts)), replace(settings, max_tokens=plan.max_tokens)
    if n == 1:
        return list(prompts), settings
    named = SAMPLERS.get(settings.sampler) if isinstance(settings.sampler, str) else None
    if named is None or not named.options:
        return [tokens for tokens in prompts for _ in range(n)], settings
    if "n" in named.options:
        return list(prompts), replace(settings, options={**settings.options, "n": n})
    raise BadInput(f"the {settings.sampler} sampler takes no n: its options are {', '.join(named.options)}.")


def encode_prompts(model: Model, prompt: Prompt | Sequence[Prompt]) -> list[Tokens]:
    """The prompts as tokens; a flat sequence of integers is one prompt."""
    if isinstance(prompt, str):
        return [_encode_text(model, prompt)]
    if all(not isinstance(part, str) and not hasattr(part, "__len__") for part in prompt):
        return [cast(Tokens, prompt)]
    return [_encode_text(model, part) if isinstance(part, str) else part for part in cast(Sequence[Prompt], prompt)]


def _encode_text(model: Model, text: str) -> Tokens:
    return model.encode(text) if text else []
