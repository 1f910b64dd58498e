"""From what a rule matches to functions that find it in the views of a text."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from inspect import isawaitable
from numbers import Real
from operator import index
from typing import Any

import regex

from heatbath.errors import BadInput
from heatbath.policy.normalization import Span, TextView
from heatbath.policy.personal_data import DETECTORS, Finder, find_telephones
from heatbath.policy.rule import (
    ClassifierMatch,
    EmbeddingMatch,
    FunctionMatch,
    Match,
    PersonalDataMatch,
    PolicyRule,
    RegexMatch,
    ScoreRange,
)
from heatbath.policy.time_limits import LimitedFunction

Views = Sequence[TextView]
Matcher = Callable[[Views], Iterable[Span]]
"""Finds the spans of a match in the original, which is the first view. What it raises closes the gate."""

_LONG_TEXT = 2000
_MAX_SENTENCE = 400
_SENTENCE = regex.compile(
    rf"\S(?:.{{0,{_MAX_SENTENCE - 2}}}?(?:[.!?…。！？](?=\s|$)|(?=\n)|$)|.{{0,{_MAX_SENTENCE - 2}}})"
)
"""A sentence, or the characters of one that is longer."""


def build_matcher(match: Match, rule: PolicyRule) -> Matcher:
    """Return the function that finds a match; phrases are found together, by `PhraseIndex`.

    Raises:
        MissingExtra: what it needs is not installed.
    """
    if isinstance(match, RegexMatch):
        flags = regex.IGNORECASE if match.ignore_case else 0
        return partial(_find_pattern, regex.compile(match.pattern, flags), rule.time_limit)
    if isinstance(match, PersonalDataMatch):
        finders = [_build_finder(kind, match.region) for kind in match.kinds]
        return partial(_find_personal_data, finders)
    if isinstance(match, ClassifierMatch):
        return _limit_text(partial(_find_score, _load_classifier(match.name), match.scores), rule.time_limit)
    if isinstance(match, EmbeddingMatch):
        return _limit_text(_build_neighbourhood(match), rule.time_limit)
    if isinstance(match, FunctionMatch):
        return _limit_text(partial(_call_function, match.function, match.scores), rule.time_limit)
    raise BadInput(f"the rule {rule.id!r} cannot judge by {type(match).__name__}.")


def _find_pattern(pattern: Any, seconds: float, views: Views) -> Iterator[Span]:
    for view in views:
        # For a long text other threads may go on meanwhile.
        for match in pattern.finditer(view.text, timeout=seconds, concurrent=len(view.text) > _LONG_TEXT):
            if match.end() > match.start():
                yield view.original_span(*match.span())


def _build_finder(kind: str, region: str | None) -> Finder:
    if kind == "phone":
        find_telephones("+", region)
        return lambda text: find_telephones(text, region)
    return DETECTORS[kind]


def _find_personal_data(finders: Sequence[Finder], views: Views) -> Iterator[Span]:
    for view in views:
        for finder in finders:
            for span in finder(view.text):
                yield view.original_span(*span)


def _limit_text(function: Callable[[str], list[Span]], seconds: float) -> Matcher:
    """Return a matcher of the original text that takes `seconds` at most."""
    limited = LimitedFunction(function, seconds)
    return lambda views: limited(views[0].text) if views[0].text else ()


def _find_score(score: Callable[[str], float], scores: ScoreRange, text: str) -> list[Span]:
    return [(0, len(text))] if _validate_score(score(text)) in scores else []


def _validate_score(value: Any) -> float:
    """Return a score as a float. Raises `ValueError` for anything that is not a finite number."""
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError("the score is no finite number.")
    return float(value)


def _load_classifier(name: str) -> Callable[[str], float]:
    """Return the function from a text to its score: P(not benign), or the compound sentiment."""
    from heatbath.energy.potentials.classifier import load_guardian, load_vader

    if name == "sentiment":
        return load_vader()
    log_benign = load_guardian()
    return lambda text: -math.expm1(log_benign(text))


def _build_neighbourhood(match: EmbeddingMatch) -> Callable[[str], list[Span]]:
    """Return the function that finds the sentences near to one of the texts."""
    import numpy as np

    from heatbath.energy.potentials.embedding import load_minilm

    embed = load_minilm()
    centres = embed(match.texts)

    def find(text: str) -> list[Span]:
        spans = [found.span() for found in _SENTENCE.finditer(text)]
        if not spans:
            return []
        cosines = (embed([text[start:end] for start, end in spans]) @ centres.T).max(-1)
        if not np.isfinite(cosines).all():
            raise ValueError("a cosine is no finite number.")
        return [span for span, cosine in zip(spans, cosines, strict=True) if cosine > match.above]

    return find


def _call_function(function: Callable[[str], Any], scores: ScoreRange | None, text: str) -> list[Span]:
    """Return the spans that a function of the user names; the whole text for True, or for a score in the range.

    What a coroutine function returns is awaited, on an event loop of its own.
    """
    value = function(text)
    if isawaitable(value):
        value = asyncio.run(_await_value(value))
    if isinstance(value, bool):
        return [(0, len(text))] if value else []
    if scores is not None:
        return [(0, len(text))] if _validate_score(value) in scores else []
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise TypeError("expected a truth value or a list of spans.")
    return [_validate_span(span, len(text)) for span in value]


async def _await_value(value: Awaitable[Any]) -> Any:
    return await value


def _validate_span(span: Any, length: int) -> Span:
    start, end = map(index, span)
    if not 0 <= start < end <= length:
        raise ValueError("a span lies outside of the text.")
    return start, end
