"""Answers that a classifier of harm or of sentiment likes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import DecodeFunction, Floats, completion_texts, validate_scale
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput, MissingExtra

TextScorer = Callable[[str], float]


class Safety(Potential):
    r"""$-\text{scale} \cdot \log P(\text{benign} \mid x)$ nats, (B,), P by the SecureVector Guardian classifier.

    With scale 1 an answer's weight is that probability: the law of answers given that they are benign, so far as the
    classifier is right. With `linear` the energy is scale · (1 - P), which is bounded. The classifier is a small one,
    for attacks in prompts and harmful requests, in English; look at what it says of your texts before trusting it.
    `scores_prefixes` lets it guide prefixes, by their text so far.

    Raises:
        BadInput: an infinite scale.
        MissingExtra: without the extra `safety`.
    """

    def __init__(
        self,
        decode: DecodeFunction,
        *,
        scale: float = 1.0,
        linear: bool = False,
        scores_prefixes: bool = False,
        name: str = "safety",
    ) -> None:
        self.scale = validate_scale(scale, name)
        self.linear = linear
        self.scores_prefixes = scores_prefixes
        self.name = name
        self._decode = decode
        self._log_benign = load_guardian()

    def __call__(self, context: Context) -> Floats:
        log_benign = np.array([self._log_benign(text) for text in completion_texts(context, self._decode)], np.float64)
        return np.asarray(-self.scale * (np.expm1(log_benign) if self.linear else log_benign))


class Sentiment(Potential):
    r"""$-\text{scale} \cdot s(x)$ nats, (B,), with the VADER compound score s from -1 (bad) to 1 (good).

    A lexicon and rules for English; a negative scale prefers bad tempers. `scores_prefixes` lets it guide prefixes, by
    their text so far.

    Raises:
        BadInput: an infinite scale.
        MissingExtra: without the extra `sentiment`.

    Source: Hutto & Gilbert 2014, VADER, ICWSM.
    """

    def __init__(
        self, decode: DecodeFunction, *, scale: float = 1.0, scores_prefixes: bool = False, name: str = "sentiment"
    ) -> None:
        self.scale = validate_scale(scale, name)
        self.scores_prefixes = scores_prefixes
        self.name = name
        self._decode = decode
        self._compound = load_vader()

    def __call__(self, context: Context) -> Floats:
        return -self.scale * np.array(
            [self._compound(text) for text in completion_texts(context, self._decode)], np.float64
        )


@cache
def load_guardian() -> TextScorer:
    """log P(benign) of a text by the packaged classifier. Raises `MissingExtra` where it is absent."""
    try:
        from svguardian._runtime import bundled_path
        from svguardian.model.pure_infer import PureGuardian
    except ImportError as error:
        raise MissingExtra("scoring safety", "safety") from error
    path = bundled_path()
    if path is None:
        raise BadInput("the installed securevector-guardian-model holds no weights: install its wheel from the index.")
    model = PureGuardian.load(path)
    benign = model.classes.index(model.benign)

    def log_benign(text: str) -> float:
        # Not from `predict`, whose four digits make a certain harm of anything above 0.99995.
        scores = np.array(model._scores(text))
        return float(scores[benign] - np.logaddexp.reduce(scores))

    return log_benign


@cache
def load_vader() -> TextScorer:
    """The compound score of a text. Raises `MissingExtra` where VADER is absent."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise MissingExtra("scoring sentiment", "sentiment") from error
    analyzer = SentimentIntensityAnalyzer()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])


def _build_safety(context: BuildContext, scale: float = 1.0, **more: Any) -> Potential:
    return Safety(context.model.decode, scale=scale, **more)


def _build_sentiment(context: BuildContext, scale: float = 1.0, **more: Any) -> Potential:
    return Sentiment(context.model.decode, scale=scale, **more)


SPECS = (
    Spec("safety", "potential", _build_safety, "1.0", order=50),
    Spec("sentiment", "potential", _build_sentiment, "1.0", order=60),
)
