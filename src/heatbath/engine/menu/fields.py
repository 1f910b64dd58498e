"""Fields by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heatbath import energy
from heatbath.energy import Field, after_tokens, until_tokens, when
from heatbath.engine.menu.choosing import Dish, Setting
from heatbath.errors import BadInput
from heatbath.models.base import Model


def _forbid(setting: Setting, phrases: str | Sequence[str], *, ignore_case: bool = False) -> Field:
    model = setting.model
    return energy.ForbidPhrases(_texts(phrases), model.token_bytes, model.vocabulary.size, ignore_case=ignore_case)


def _forbid_tokens(setting: Setting, tokens: int | Sequence[int]) -> Field:
    return energy.Forbid([tokens] if isinstance(tokens, int) else tokens)


def _require(setting: Setting, phrases: str | Sequence[str]) -> Field:
    model = setting.model
    wanted = _texts(phrases)
    return energy.Require(wanted, model.token_bytes, model.vocabulary.size, max_tokens=setting.max_tokens)


def _bias(setting: Setting, **bias: float) -> Field:
    return energy.LogitBias({_token(setting.model, text): float(value) for text, value in bias.items()})


def _repetition(setting: Setting, penalty: float, *, last_n: int | None = None) -> Field:
    return energy.RepetitionPenalty(penalty, last_n=last_n)


def _presence(setting: Setting, penalty: float, *, last_n: int | None = None) -> Field:
    return energy.PresencePenalty(penalty, last_n=last_n)


def _frequency(setting: Setting, penalty: float, *, last_n: int | None = None) -> Field:
    return energy.FrequencyPenalty(penalty, last_n=last_n)


def _dry(setting: Setting, multiplier: float, *, breakers: Sequence[str] = ("\n", ":", '"', "*"), **more: Any) -> Field:
    model = setting.model
    pieces = [model.token_bytes(token) for token in range(model.vocabulary.size)]
    return energy.Dry(multiplier, breakers=energy.breaking_tokens(breakers, pieces), **more)


def _json_schema(setting: Setting, schema: str | None = None, **object_: Any) -> Field:
    """A schema is itself an object, so its keys arrive as names."""
    text = json.dumps(object_) if schema is None else schema
    model = setting.model
    return energy.Grammar.json_schema(text, model.token_bytes, model.vocabulary, max_tokens=setting.max_tokens)


def _regex(setting: Setting, pattern: str) -> Field:
    model = setting.model
    return energy.Grammar.regex(str(pattern), model.token_bytes, model.vocabulary, max_tokens=setting.max_tokens)


def _lark(setting: Setting, grammar: str) -> Field:
    model = setting.model
    return energy.Grammar(grammar, model.token_bytes, model.vocabulary, max_tokens=setting.max_tokens)


def _min_length(setting: Setting, tokens: int) -> Field:
    return energy.MinLength(tokens)


def _max_length(setting: Setting, tokens: int) -> Field:
    return energy.MaxLength(tokens)


def _length_bias(setting: Setting, rate: float) -> Field:
    return energy.LengthBias(rate)


def _contrast(setting: Setting, other: str, *, gamma: float = 1.5) -> Field:
    return energy.Contrast(setting.model, setting.model.encode(other) if other else (), gamma=gamma)


def _product(setting: Setting, models: str | Sequence[str], *, weights: Sequence[float] | None = None) -> Field:
    return energy.ProductOfExperts(_loaded(models), weights)


def _mixture(setting: Setting, models: str | Sequence[str], *, prior: Sequence[float] | None = None) -> Field:
    return energy.MixtureOfExperts([setting.model, *_loaded(models)], prior)


def _gumbel(setting: Setting, scale: float, *, seed: int = 0) -> Field:
    return energy.GumbelNoise(scale, seed)


def _gaussian(setting: Setting, scale: float, *, seed: int = 0) -> Field:
    return energy.GaussianNoise(scale, seed)


def _max_entropy(setting: Setting, features: Mapping[str, Sequence[float]], lambdas: Sequence[float]) -> Field:
    import numpy as np

    table = np.zeros((setting.model.vocabulary.size, len(lambdas)))
    for text, values in features.items():
        table[_token(setting.model, text)] = values
    return energy.MaxEntropy(table, lambdas)


def _placed(make: Callable[..., Field]) -> Callable[..., Field]:
    """The same with settings that any field takes: a weight, and the tokens from which and until which it acts."""
    from functools import wraps

    @wraps(make)
    def placed(setting: Setting, *given: Any, **named: Any) -> Field:
        weight, after, until = (named.pop(name, None) for name in ("weight", "after", "until"))
        field = make(setting, *given, **named)
        field = field if weight is None else weight * field
        field = field if after is None else when(after_tokens(after), field)
        return field if until is None else when(until_tokens(until), field)

    return placed


def _dish(make: Callable[..., Field], takes: str) -> Dish[Field]:
    return Dish(_placed(make), takes)


def _texts(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _token(model: Model, text: str) -> int:
    """The one token that a text is, or the one that a number names."""
    if text.isdigit():
        return int(text)
    tokens = model.encode(text)
    if len(tokens) != 1:
        raise BadInput(f"{text!r} is {len(tokens)} tokens of {model.name}: give one token, or its number.")
    return tokens[0]


def _loaded(names: str | Sequence[str]) -> list[Model]:
    from heatbath.models import load

    return [load(name) for name in _texts(names)]


FIELDS: dict[str, Dish[Field]] = {
    "forbid": _dish(_forbid, '"phrase" or ["phrase", …]'),
    "forbid_tokens": _dish(_forbid_tokens, "[17, 42]"),
    "require": _dish(_require, '"phrase" or ["phrase", …]'),
    "bias": _dish(_bias, '{" yes": 2.0, "314": -1.0}'),
    "repetition": _dish(_repetition, "1.1"),
    "presence": _dish(_presence, "0.5"),
    "frequency": _dish(_frequency, "0.5"),
    "dry": _dish(_dry, "0.8"),
    "json_schema": _dish(_json_schema, '{"type": "object", …} or @file'),
    "regex": _dish(_regex, "[0-9]+"),
    "lark": _dish(_lark, '"start: …" or @file'),
    "min_length": _dish(_min_length, "8"),
    "max_length": _dish(_max_length, "32"),
    "length_bias": _dish(_length_bias, "0.1"),
    "contrast": _dish(_contrast, '{"other": "prompt", "gamma": 1.5}'),
    "product": _dish(_product, '"model" or {"models": […], "weights": […]}'),
    "mixture": _dish(_mixture, '"model" or {"models": […], "prior": […]}'),
    "gumbel_noise": _dish(_gumbel, "1.0"),
    "gaussian_noise": _dish(_gaussian, "1.0"),
    "max_entropy": _dish(_max_entropy, '{"features": {" yes": [1.0]}, "lambdas": [0.5]}'),
}
"""Fields by name; each also takes `weight`, `after` and `until` where its value is an object."""
