"""Generate from prompts: `hb.generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Unpack

from heatbath.decode.schedules import Schedule
from heatbath.engine.driver import Run
from heatbath.engine.generation_options import GenerationOptions, build_settings
from heatbath.engine.pool_session import find_fast_opener
from heatbath.engine.registry import SAMPLERS
from heatbath.engine.result import Generation
from heatbath.engine.settings import GenerationSettings, validate_integer
from heatbath.errors import BadInput, format_value
from heatbath.models.base import Model, Tokens
from heatbath.record import Frame, Observer

Prompt = str | Tokens
StepCallback = Callable[[Frame], object]


def generate(
    model: Model,
    prompt: Prompt | Sequence[Prompt],
    *,
    n: int | None = None,
    on_step: StepCallback | None = None,
    observers: Sequence[Observer] = (),
    **options: Unpack[GenerationOptions],
) -> Generation:
    """Continue a prompt, or several: text or tokens, each `n` times; the copies of one prompt lie side by side.

    The other arguments have the names of the command line and the HTTP API:

        temperature         one number, one for each row, or a `Schedule`; 1.0
        schedule            in its place: "linear={...}" or {"linear": {...}}
        max_tokens          128
        top_k, top_p, min_p, typical, ...
                            windows by their names; `window` takes `Window` objects or "top_p=0.9", which cut first
        fields, potentials  objects, "dry=0.8" or {"dry": 0.8}, one or several
        stop                a text or several; the result ends before it
        stop_token_ids      ids that end a sequence beside the model's own; `ignore_eos` drops those
        sampler             "ancestral", "greedy", "smc", ..., or a sampler; its options are arguments too
        seed, first_row     0; row i draws from the stream (seed, first_row + i)
        record              "full", "state", "nodes" or None

    Samplers of sequences take one prompt. Every frame goes to `observers` and to `on_step`. Ctrl-C is the caller's; a
    `Run` keeps what is there.

    Raises:
        BadInput: an unusable prompt or setting; what comes up on the way carries what there is as `.partial`.
        NotANumber: the model or a potential gave NaN; names the step.
    """
    validate_model(model)
    _validate_listeners(on_step, observers)
    prompts, settings = repeat_prompts(encode_prompts(model, prompt), build_settings(model, options), n)
    run = Run(model, prompts, settings, opener=find_fast_opener(model))
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
    n = 1 if n is None else validate_integer("n", n, minimum=1)
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


def _validate_listeners(on_step: object, observers: object) -> None:
    if on_step is not None and not callable(on_step):
        raise BadInput(f"on_step is {format_value(on_step)}: give a function of a frame.", param="on_step")
    if not isinstance(observers, Sequence) or not all(hasattr(each, "update") for each in observers):
        raise BadInput(f"observers is {format_value(observers)}: give a list of `Observer` objects.", param="observers")


def validate_model(model: object) -> None:
    """Raise `BadInput` for what is not a model."""
    if not (hasattr(model, "open") and hasattr(model, "vocabulary")):
        raise BadInput(
            f"model is {format_value(model)}: give a model, such as heatbath.load('smollm2-135m').", param="model"
        )


def encode_prompts(model: Model, prompt: Prompt | Sequence[Prompt]) -> list[Tokens]:
    """Return the prompts as tokens; a flat sequence of integers is one prompt.

    Raises:
        BadInput: no text, tokens or list of them.
    """
    parts = _as_prompt(prompt)
    if isinstance(parts, str):
        return [_encode_text(model, parts)]
    if not any(isinstance(part, str) or hasattr(part, "__iter__") for part in parts):
        return [_validate_tokens(parts)]
    prompts = map(_as_prompt, parts)
    return [_encode_text(model, part) if isinstance(part, str) else _validate_tokens(part) for part in prompts]


def _as_prompt(prompt: Any) -> Any:
    """A text, or a sequence; arrays and tensors become lists."""
    if hasattr(prompt, "tolist"):
        prompt = prompt.tolist()
    if not isinstance(prompt, str) and (isinstance(prompt, bytes) or not isinstance(prompt, Sequence)):
        raise BadInput(
            f"prompt is {format_value(prompt)}: give a text, token ids or a list of them; [] starts a document.",
            param="prompt",
        )
    return prompt


def _validate_tokens(tokens: Sequence[Any]) -> Tokens:
    wrong = [token for token in tokens if isinstance(token, bool) or not isinstance(token, Integral)]
    if wrong:
        raise BadInput(
            f"prompt holds {format_value(wrong[0])} where a token id should be: give integers.", param="prompt"
        )
    return tokens


def _encode_text(model: Model, text: str) -> Tokens:
    return model.encode(text) if text else []
