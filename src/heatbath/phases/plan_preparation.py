"""From what is asked of a sweep to a plan for one model: chat template, prompts, windows, and the end of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypedDict

import numpy as np

from heatbath.engine.generation_options import build_settings
from heatbath.errors import BadInput, format_value, suggest_name
from heatbath.models import Model, RestrictedModel
from heatbath.models.base import TensorModel, dtype_name
from heatbath.phases.sampling import SweepPlan
from heatbath.phases.sweep_prompts import BUILT_IN_PROMPTS
from heatbath.questions.prompt_tokens import encode_scored_prompts, has_chat_template
from heatbath.questions.scored_prompts import Prompt, ScoredPrompt

NO_PROMPTS = ((),)
TEXTS_PER_TEMPERATURE = 4
"""Texts that each temperature needs where texts cannot be reweighted from one to another."""


class SweepOptions(TypedDict, total=False):
    """The fields of `SweepPlan` as keyword arguments of `hb.sweep`; `window` is one window or several."""

    low: float
    high: float
    length: int
    sequences: int
    batch: int
    anchors: int
    seed: int
    temperatures: Sequence[float]
    chat: bool
    system: str
    window: str | Sequence[str]
    allow_end: bool
    width: float


def update_plan(plan: SweepPlan, options: Mapping[str, Any]) -> SweepPlan:
    """Return the plan with some fields replaced.

    Raises:
        BadInput: a field that the plan does not have, or a window that is not text.
    """
    names = [field.name for field in fields(SweepPlan) if field.name != "prompts"]
    for name in options:
        if name not in names:
            raise BadInput(f"sweep has no argument {name!r}{suggest_name(name, names)}: see help(heatbath.sweep).")
    values = dict(options)
    if "window" in values:
        values["window"] = (values["window"],) if isinstance(values["window"], str) else tuple(values["window"])
    if values.get("temperatures") is not None:
        values["temperatures"] = tuple(values["temperatures"])
    return replace(plan, **values)


def prepare_plan(
    model: Model, plan: SweepPlan, prompts: Sequence[Prompt | ScoredPrompt] | None = None, *, fixed: bool = False
) -> SweepPlan:
    """Return the plan with everything that depends on the model settled, and check it; the result is its own plan.

    Args:
        model: the model to sweep.
        plan: what is asked for; token prompts in it are taken as they are.
        prompts: texts, chat messages or the items of a file.
        fixed: texts of one temperature are compared with one another, so that all go to the same few temperatures and
            have the same length.

    Raises:
        BadInput: the plan or a prompt does not fit the model.
    """
    if prompts is not None and not len(prompts):
        raise BadInput("there are no prompts: give at least one, or leave them out.")
    chat = plan.chat
    if chat is None:
        chat = (prompts is not None or plan.prompts == NO_PROMPTS) and has_chat_template(model)
    _validate_chat(model, plan, chat)
    can_end = bool(model.vocabulary.stop_token_ids)
    allow_end = (chat and can_end and not fixed) if plan.allow_end is None else plan.allow_end
    _validate_end(model, allow_end, fixed)
    encoded = plan.prompts
    if prompts is None and chat and plan.prompts == NO_PROMPTS:
        prompts = BUILT_IN_PROMPTS
    if prompts is not None:
        items = [one if isinstance(one, ScoredPrompt) else ScoredPrompt(one, bool) for one in prompts]
        tokens = encode_scored_prompts(model, items, plan.length, chat=chat, system=plan.system)
        encoded = tuple(map(tuple, tokens))
    temperatures = plan.temperatures
    if temperatures is None and (fixed or plan.window):
        temperatures = tuple(np.linspace(plan.low, plan.high, plan.anchors).tolist())
    plan = replace(plan, chat=chat, allow_end=allow_end, prompts=encoded, temperatures=temperatures)
    plan.validate(model)
    _validate_windows(model, plan)
    return plan


def _validate_chat(model: Model, plan: SweepPlan, chat: bool) -> None:
    if chat and not has_chat_template(model):
        raise BadInput(f"{model.name} has no chat template: leave the chat out, and give text to continue.")
    if plan.system is not None and not chat:
        raise BadInput("a system message needs a chat template: leave it out, or sweep a chat model in chat mode.")


def _validate_end(model: Model, allow_end: bool, fixed: bool) -> None:
    if allow_end and not model.vocabulary.stop_token_ids:
        raise BadInput(f"{model.name} has no token that ends a text: leave out the permission to end.")
    if allow_end and fixed:
        raise BadInput("criticality compares texts of one length: do not allow them to end.")


def _validate_windows(model: Model, plan: SweepPlan) -> None:
    if not all(isinstance(window, str) for window in plan.window):
        raise BadInput(f"`window` must be text such as 'top_p=0.9', or several, got {format_value(plan.window)}.")
    build_settings(model, {"window": list(plan.window)})
    if not plan.window:
        return
    needed = TEXTS_PER_TEMPERATURE * len(plan.temperatures or ())
    if plan.sequences < needed:
        raise BadInput(
            f"with a window every text counts at its own temperature alone, so `sequences` must be at least {needed} "
            f"for {len(plan.temperatures or ())} temperatures, got {plan.sequences}."
        )


def restrict_model(model: Model, plan: SweepPlan) -> Model:
    """Return the model that texts are drawn from: without its end of text, unless the plan allows it."""
    stop = model.vocabulary.stop_token_ids
    return model if plan.allow_end or not stop else RestrictedModel(model, stop)


def describe_plan(model: Model, plan: SweepPlan) -> dict[str, Any]:
    """Return the settings of a sweep as its report has them: the plan, and the precision and device of the model."""
    built_in = (
        plan.chat and len(plan.prompts) == len(BUILT_IN_PROMPTS) and plan.prompts == _encode_built_in(model, plan)
    )
    source = "start of a document" if plan.prompts == NO_PROMPTS else "built-in" if built_in else "given"
    return {
        "dtype": dtype_name(model),
        "device": str(model.device) if isinstance(model, TensorModel) else None,
        **asdict(plan),
        "prompts": len(plan.prompts),
        "prompt_source": source,
    }


def _encode_built_in(model: Model, plan: SweepPlan) -> tuple[tuple[int, ...], ...]:
    items = [ScoredPrompt(prompt, bool) for prompt in BUILT_IN_PROMPTS]
    return tuple(map(tuple, encode_scored_prompts(model, items, plan.length, chat=True, system=plan.system)))
