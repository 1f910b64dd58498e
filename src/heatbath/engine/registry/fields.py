"""Fields by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heatbath import energy, experts
from heatbath.energy import Field, after_tokens, apply_when, until_tokens
from heatbath.engine.registry.entry import BuildContext, Entry
from heatbath.errors import BadInput
from heatbath.models.base import Model


def _build_forbid(context: BuildContext, phrases: str | Sequence[str], *, ignore_case: bool = False) -> Field:
    model = context.model
    return energy.ForbiddenPhrases(
        _as_texts(phrases), context.token_bytes, model.vocabulary.size, ignore_case=ignore_case
    )


def _build_forbid_tokens(context: BuildContext, tokens: int | Sequence[int]) -> Field:
    return energy.ForbiddenTokens([tokens] if isinstance(tokens, int) else tokens)


def _build_require(context: BuildContext, phrases: str | Sequence[str]) -> Field:
    model = context.model
    wanted = _as_texts(phrases)
    return energy.RequiredPhrases(wanted, context.token_bytes, model.vocabulary.size, max_tokens=context.max_tokens)


def _build_bias(context: BuildContext, **bias: float) -> Field:
    return energy.LogitBias({_resolve_token(context.model, text): float(value) for text, value in bias.items()})


def _build_repetition(context: BuildContext, penalty: float, *, last_n: int | None = None) -> Field:
    return energy.RepetitionPenalty(penalty, last_n=last_n)


def _build_presence(context: BuildContext, penalty: float, *, last_n: int | None = None) -> Field:
    return energy.PresencePenalty(penalty, last_n=last_n)


def _build_frequency(context: BuildContext, penalty: float, *, last_n: int | None = None) -> Field:
    return energy.FrequencyPenalty(penalty, last_n=last_n)


def _build_dry(
    context: BuildContext, multiplier: float, *, breakers: Sequence[str] = ("\n", ":", '"', "*"), **more: Any
) -> Field:
    model = context.model
    pieces = [context.token_bytes(token) for token in range(model.vocabulary.size)]
    return energy.DryPenalty(multiplier, breakers=energy.find_breaker_tokens(breakers, pieces), **more)


def _build_json_schema(context: BuildContext, schema: str | None = None, **object_: Any) -> Field:
    """A schema is itself an object, so its keys arrive as names."""
    text = json.dumps(object_) if schema is None else schema
    model = context.model
    return energy.Grammar.from_json_schema(text, context.token_bytes, model.vocabulary, max_tokens=context.max_tokens)


def _build_regex(context: BuildContext, pattern: str) -> Field:
    model = context.model
    return energy.Grammar.from_regex(str(pattern), context.token_bytes, model.vocabulary, max_tokens=context.max_tokens)


def _build_lark(context: BuildContext, grammar: str) -> Field:
    model = context.model
    return energy.Grammar(grammar, context.token_bytes, model.vocabulary, max_tokens=context.max_tokens)


def _build_min_length(context: BuildContext, tokens: int) -> Field:
    return energy.MinLength(tokens)


def _build_max_length(context: BuildContext, tokens: int) -> Field:
    return energy.MaxLength(tokens)


def _build_length_bias(context: BuildContext, rate: float) -> Field:
    return energy.LengthBias(rate)


def _build_contrast(context: BuildContext, other: str, *, gamma: float = 1.5) -> Field:
    return experts.Contrast(context.model, context.model.encode(other) if other else (), gamma=gamma)


def _build_product(
    context: BuildContext, models: str | Sequence[str], *, weights: Sequence[float] | None = None
) -> Field:
    return experts.ProductOfExperts(_load_models(models), weights)


def _build_mixture(
    context: BuildContext, models: str | Sequence[str], *, prior: Sequence[float] | None = None
) -> Field:
    return experts.MixtureOfExperts([context.model, *_load_models(models)], prior)


def _build_gumbel(context: BuildContext, scale: float, *, seed: int = 0) -> Field:
    return energy.GumbelNoise(scale, seed)


def _build_gaussian(context: BuildContext, scale: float, *, seed: int = 0) -> Field:
    return energy.GaussianNoise(scale, seed)


def _build_max_entropy(
    context: BuildContext, features: Mapping[str, Sequence[float]], lambdas: Sequence[float]
) -> Field:
    import numpy as np

    table = np.zeros((context.model.vocabulary.size, len(lambdas)))
    for text, values in features.items():
        table[_resolve_token(context.model, text)] = values
    return energy.MaxEntropy(table, lambdas)


def _with_placement(make: Callable[..., Field]) -> Callable[..., Field]:
    """The same with settings that any field takes: a weight, and the tokens from which and until which it acts."""
    from functools import wraps

    @wraps(make)
    def build_with_placement(setting: BuildContext, *given: Any, **named: Any) -> Field:
        weight, after, until = (named.pop(name, None) for name in ("weight", "after", "until"))
        field = make(setting, *given, **named)
        field = field if weight is None else weight * field
        field = field if after is None else apply_when(after_tokens(after), field)
        return field if until is None else apply_when(until_tokens(until), field)

    return build_with_placement


def _build_entry(make: Callable[..., Field], takes: str) -> Entry[Field]:
    return Entry(_with_placement(make), takes)


def _as_texts(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _resolve_token(model: Model, text: str) -> int:
    """The one token that a text is, or the one that a number names."""
    if text.isdigit():
        return int(text)
    tokens = model.encode(text)
    if len(tokens) != 1:
        raise BadInput(f"{text!r} is {len(tokens)} tokens of {model.name}: give one token, or its number.")
    return tokens[0]


def _load_models(names: str | Sequence[str]) -> list[Model]:
    from heatbath.models import load

    return [load(name) for name in _as_texts(names)]


FIELDS: dict[str, Entry[Field]] = {
    "forbid": _build_entry(_build_forbid, '"phrase" or ["phrase", …]'),
    "forbid_tokens": _build_entry(_build_forbid_tokens, "[17, 42]"),
    "require": _build_entry(_build_require, '"phrase" or ["phrase", …]'),
    "bias": _build_entry(_build_bias, '{" yes": 2.0, "314": -1.0}'),
    "repetition": _build_entry(_build_repetition, "1.1"),
    "presence": _build_entry(_build_presence, "0.5"),
    "frequency": _build_entry(_build_frequency, "0.5"),
    "dry": _build_entry(_build_dry, "0.8"),
    "json_schema": _build_entry(_build_json_schema, '{"type": "object", …} or @file'),
    "regex": _build_entry(_build_regex, "[0-9]+"),
    "lark": _build_entry(_build_lark, '"start: …" or @file'),
    "min_length": _build_entry(_build_min_length, "8"),
    "max_length": _build_entry(_build_max_length, "32"),
    "length_bias": _build_entry(_build_length_bias, "0.1"),
    "contrast": _build_entry(_build_contrast, '{"other": "prompt", "gamma": 1.5}'),
    "product": _build_entry(_build_product, '"model" or {"models": […], "weights": […]}'),
    "mixture": _build_entry(_build_mixture, '"model" or {"models": […], "prior": […]}'),
    "gumbel_noise": _build_entry(_build_gumbel, "1.0"),
    "gaussian_noise": _build_entry(_build_gaussian, "1.0"),
    "max_entropy": _build_entry(_build_max_entropy, '{"features": {" yes": [1.0]}, "lambdas": [0.5]}'),
}
"""Fields by name; each also takes `weight`, `after` and `until` where its value is an object."""
