"""Potentials by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from heatbath.energy import Potential
from heatbath.energy.potentials import EmbeddingSimilarity, Finished, Function, Length, Regex, Safety, Sentiment
from heatbath.energy.potentials.length import characters, words
from heatbath.engine.menu.choosing import Dish, Setting
from heatbath.errors import BadInput


def _regex(setting: Setting, pattern: str, *, weight: float = float("inf")) -> Potential:
    return Regex(str(pattern), setting.model.decode, weight=weight)


def _length(
    setting: Setting, target: float, *, width: float = 1.0, of: str = "tokens", hard: bool = False
) -> Potential:
    counts = {"tokens": len, "words": words(setting.model.decode), "characters": characters(setting.model.decode)}
    if of not in counts:
        raise BadInput(f"a length is one of {', '.join(counts)}, not of {of!r}.")
    return Length(target, width, count=counts[of], hard=hard)


def _finished(setting: Setting, weight: float = float("inf")) -> Potential:
    return Finished(weight)


def _similarity(setting: Setting, texts: str | Sequence[str], *, scale: float = 10.0, **more: Any) -> Potential:
    return EmbeddingSimilarity(texts, setting.model.decode, scale=scale, **more)


def _safety(setting: Setting, scale: float = 1.0, **more: Any) -> Potential:
    return Safety(setting.model.decode, scale=scale, **more)


def _sentiment(setting: Setting, scale: float = 1.0, **more: Any) -> Potential:
    return Sentiment(setting.model.decode, scale=scale, **more)


def _function(setting: Setting, path: str, *, scores_prefixes: bool = False) -> Potential:
    module, colon, name = path.partition(":")
    if not colon:
        raise BadInput(f"a function is named as module:function, not {path!r}.")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"there is no function {path}: {error}.") from error
    return Function(function, name, decode=setting.model.decode, scores_prefixes=scores_prefixes)


POTENTIALS: dict[str, Dish[Potential]] = {
    "regex": Dish(_regex, "[0-9]+"),
    "length": Dish(_length, '{"target": 20, "width": 4, "of": "words"}'),
    "finished": Dish(_finished, ""),
    "similarity": Dish(_similarity, '"text" or {"texts": […], "scale": 10}'),
    "safety": Dish(_safety, "1.0"),
    "sentiment": Dish(_sentiment, "1.0"),
    "function": Dish(_function, "module:function"),
}
"""Potentials by name."""
