"""The read-out of labels: their log-probabilities for every text and every order of the options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from heatbath.errors import BadInput, format_value
from heatbath.models.base import Model, Tokens
from heatbath.models.continuations import ContinuationScorer
from heatbath.models.session_scoring import build_continuation_scorer
from heatbath.trust.decisions.label_tokens import LabelTokens, Tokenizations, encode_labels
from heatbath.trust.decisions.questions import DecisionQuestion, Order, encode_question, label_texts

Floats = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

_TEXTS_AT_ONCE = 16
MIN_SHARED_TOKENS = 8
"""Length of a common beginning of prompts from which it is evaluated by itself."""


@dataclass(frozen=True)
class LabelReadout:
    """Log-probabilities of the labels, nats at T = 1.

    Attributes:
        logprobs: log p of each label in the question's own order, by text and order of the options, (n, R, K).
        hidden: last hidden state after the prompt with the first order, (n, D), or None.
    """

    logprobs: Floats
    hidden: Floats | None = None

    @property
    def masses(self) -> Floats:
        """Total probability of the labels, the mean over the orders, (n,)."""
        masses: Floats = np.minimum(np.exp(logsumexp(self.logprobs, axis=2)), 1.0).mean(1)
        return masses


class LabelReader:
    """Reads the labels of one question in one model."""

    def __init__(self, model: Model, question: DecisionQuestion, tokenizations: Tokenizations = "canonical") -> None:
        self._model, self._question = model, question
        self.labels: LabelTokens = encode_labels(model, label_texts(model, question), tokenizations)
        self._scorer: ContinuationScorer = build_continuation_scorer(model)

    def read_labels(
        self,
        texts: Sequence[str],
        orders: Sequence[Order],
        *,
        with_hidden: bool = False,
        progress: Progress | None = None,
    ) -> LabelReadout:
        """Return the read-out of texts; `progress` is called with the number of texts done and in all.

        Raises:
            BadInput: no text, an empty one, or a prompt that is longer than the model can read.
        """
        validate_texts(texts)
        parts = []
        for begin in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[begin : begin + _TEXTS_AT_ONCE]
            parts.append(self._read_part(part, orders, with_hidden))
            if progress is not None:
                progress(begin + len(part), len(texts))
        hidden = np.concatenate([part.hidden for part in parts if part.hidden is not None]) if with_hidden else None
        return LabelReadout(np.concatenate([part.logprobs for part in parts]), hidden)

    def _read_part(self, texts: Sequence[str], orders: Sequence[Order], with_hidden: bool) -> LabelReadout:
        prompts = [[encode_question(self._model, self._question, text, order) for text in texts] for order in orders]
        self._scorer.cache_prefixes([prefix for each in prompts for prefix in _common_beginning(each)])
        first = self._scorer.score(prompts[0], self.labels.tree, with_hidden=with_hidden)
        rest = [prompt for each in prompts[1:] for prompt in each]
        logprobs = first.logprobs[None]
        if rest:
            more = self._scorer.score(rest, self.labels.tree).logprobs
            logprobs = np.concatenate([logprobs, more.reshape(len(orders) - 1, len(texts), -1)])
        return LabelReadout(self.labels.label_logprobs(logprobs.transpose(1, 0, 2)), first.hidden)


def _common_beginning(prompts: Sequence[Tokens]) -> Iterator[Tokens]:
    """Yield the longest common beginning of several prompts if it is worth a pass of its own."""
    if len(prompts) < 2:
        return
    shared = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    length = min(sum(1 for _ in shared), min(map(len, prompts)) - 1)
    if length >= MIN_SHARED_TOKENS:
        yield prompts[0][:length]


def validate_texts(texts: Sequence[str]) -> None:
    """Raise `BadInput` for no text, or one that is empty."""
    if not len(texts):
        raise BadInput("there is no text to decide about: give at least one.", param="text")
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise BadInput(
                f"text {place} is {format_value(text)}: give a text with at least one character that is no space.",
                param="text",
            )
