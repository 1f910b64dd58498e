"""Potentials from text classifiers: safety and sentiment."""

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

    With scale 1 the weight of a completion is that probability: the distribution is conditioned on being benign, as far
    as the classifier is right. With `linear` the energy is scale · (1 - P), which is bounded. The classifier is small,
    made for prompt attacks and harmful requests in English; check its scores on your texts before trusting it.
    With `scores_prefixes` it also guides prefixes, by their text so far.

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

    A lexicon and rules for English; a negative scale prefers negative sentiment. With `scores_prefixes` it also guides
    prefixes, by their text so far.

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
    """Load the packaged classifier as a function from a text to log P(benign). Raises `MissingExtra` if absent."""
    try:
        from svguardian._runtime import bundled_path
        from svguardian.model.pure_infer import PureGuardian
    except ImportError as error:
        raise MissingExtra("scoring safety", "safety") from error
    path = bundled_path()
    if path is None:
        raise BadInput("the installed securevector-guardian-model has no weights: install its wheel from the index.")
    model = PureGuardian.load(path)
    benign = model.classes.index(model.benign)

    def log_benign(text: str) -> float:
        # Not from `predict`, which rounds to four digits: anything above 0.99995 would be certain harm.
        scores = np.array(model._scores(text))
        return float(scores[benign] - np.logaddexp.reduce(scores))

    return log_benign


@cache
def load_vader() -> TextScorer:
    """Load VADER as a function from a text to its compound score. Raises `MissingExtra` if absent."""
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
