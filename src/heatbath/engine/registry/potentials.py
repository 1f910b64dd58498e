"""Potentials by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from heatbath.energy import Potential
from heatbath.energy.potentials import (
    EmbeddingSimilarity,
    FunctionPotential,
    Length,
    Regex,
    Safety,
    Sentiment,
    TruncationPenalty,
)
from heatbath.energy.potentials.length import character_counter, word_counter
from heatbath.engine.registry.entry import BuildContext, Entry
from heatbath.errors import BadInput


def _build_regex(context: BuildContext, pattern: str, *, weight: float = float("inf")) -> Potential:
    return Regex(str(pattern), context.model.decode, weight=weight)


def _build_length(
    context: BuildContext, target: float, *, width: float = 1.0, of: str = "tokens", hard: bool = False
) -> Potential:
    counts = {
        "tokens": len,
        "words": word_counter(context.model.decode),
        "characters": character_counter(context.model.decode),
    }
    if of not in counts:
        raise BadInput(f"a length is one of {', '.join(counts)}, not of {of!r}.")
    return Length(target, width, count=counts[of], hard=hard)


def _build_finished(context: BuildContext, weight: float = float("inf")) -> Potential:
    return TruncationPenalty(weight)


def _build_similarity(
    context: BuildContext, texts: str | Sequence[str], *, scale: float = 10.0, **more: Any
) -> Potential:
    return EmbeddingSimilarity(texts, context.model.decode, scale=scale, **more)


def _build_safety(context: BuildContext, scale: float = 1.0, **more: Any) -> Potential:
    return Safety(context.model.decode, scale=scale, **more)


def _build_sentiment(context: BuildContext, scale: float = 1.0, **more: Any) -> Potential:
    return Sentiment(context.model.decode, scale=scale, **more)


def _build_function(context: BuildContext, path: str, *, scores_prefixes: bool = False) -> Potential:
    module, colon, name = path.partition(":")
    if not colon:
        raise BadInput(f"a function is named as module:function, not {path!r}.")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"there is no function {path}: {error}.") from error
    return FunctionPotential(function, name, decode=context.model.decode, scores_prefixes=scores_prefixes)


POTENTIALS: dict[str, Entry[Potential]] = {
    "regex": Entry(_build_regex, "[0-9]+"),
    "length": Entry(_build_length, '{"target": 20, "width": 4, "of": "words"}'),
    "finished": Entry(_build_finished, ""),
    "similarity": Entry(_build_similarity, '"text" or {"texts": […], "scale": 10}'),
    "safety": Entry(_build_safety, "1.0"),
    "sentiment": Entry(_build_sentiment, "1.0"),
    "function": Entry(_build_function, "module:function"),
}
"""Potentials by name."""
