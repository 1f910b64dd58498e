"""Entailment between answers, scored by the energies of the model that gave them.

The model is shown a question and numbered answers, and is asked of two numbers whether these answers say the same; the
energies of its next token being "no" and being "yes" are compared. Their difference does not depend on the gauge. The
same difference for an empty answer in place of the second is subtracted, which removes the model's preference for one
of the two words (contextual calibration, arXiv:2102.09690). All prompts share the question and the answers, so that a
pair costs a few tokens, however long the answers are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatbath.engine.pool_session import find_fast_opener
from heatbath.ensemble.row_layout import as_array
from heatbath.errors import BadInput
from heatbath.models.base import Model
from heatbath.trust.signals.base import Floats

MAX_BATCH = 64
"""Prompts in one forward pass."""
EMPTY_ANSWER = "N/A"
_TASK = "Some answers to this question say the same in other words, others do not. Reply yes if two do, else no."


class EntailmentScorer:
    """Log-odds that one of several answers to a question entails another one.

    Raises:
        BadInput: the words for yes and no begin with the same token.
    """

    def __init__(
        self, model: Model, question: str, texts: Sequence[str], *, words: tuple[str, str] = (" yes", " no")
    ) -> None:
        self._model = model
        self._opener = find_fast_opener(model) or model.open
        self._count = len(texts)
        answers = "".join(f"\n{i}. {' '.join(text.split())}" for i, text in enumerate([*texts, EMPTY_ANSWER], 1))
        self._head = model.encode(f"{question.strip()}\n\n{_TASK}\n{answers}\n")
        self._words = [model.encode(word, document_start=False)[0] for word in words]
        if self._words[0] == self._words[1]:
            raise BadInput(f"{words[0]!r} and {words[1]!r} must begin with different tokens of {model.name}.")

    def score_pairs(self, pairs: Sequence[tuple[int, int]]) -> Floats:
        """Return the log-odds of yes (n,) for pairs of texts, less those for the empty answer; above 0 is yes."""
        if not pairs:
            return np.zeros(0)
        firsts = list(dict.fromkeys(first for first, _ in pairs))
        scores = self._score_prompts([*pairs, *((first, self._count) for first in firsts)])
        reference = dict(zip(firsts, scores[len(pairs) :].tolist(), strict=True))
        return np.asarray(scores[: len(pairs)] - np.asarray([reference[first] for first, _ in pairs]))

    def compare_texts(self) -> NDArray[np.bool_]:
        """Return whether each two of the n texts entail one another, (n, n); a pair that fails is not tried back."""
        equal = np.eye(self._count, dtype=bool)
        forward = [(i, j) for i in range(self._count) for j in range(i + 1, self._count)]
        kept = [pair for pair, score in zip(forward, self.score_pairs(forward).tolist(), strict=True) if score > 0.0]
        back = self.score_pairs([(j, i) for i, j in kept]) > 0.0
        for (i, j), good in zip(kept, back.tolist(), strict=True):
            equal[i, j] = equal[j, i] = good
        return equal

    def _score_prompts(self, pairs: Sequence[tuple[int, int]]) -> Floats:
        tails = [self._model.encode(f"\n{i + 1} and {j + 1}:", document_start=False) for i, j in pairs]
        found = []
        for start in range(0, len(pairs), MAX_BATCH):
            session = self._opener([[*self._head, *tail] for tail in tails[start : start + MAX_BATCH]])
            found.append(as_array(session.energies()[:, self._words]).astype(np.float64))
            session.close()
        yes, no = np.concatenate(found).T
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nan_to_num(no - yes, nan=0.0))
