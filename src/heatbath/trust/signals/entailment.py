"""Entailment between answers, scored by the energies of the model that gave them.

For a question and two answers the model is asked whether the first says the same as the second, and the energies of
its next token being "no" and being "yes" are compared: their difference does not depend on the gauge. The same
difference for an empty second answer is subtracted, which removes the model's preference for one of the two words
(contextual calibration, arXiv:2102.09690). Prompts of one first answer share all tokens up to the second one.
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


class EntailmentScorer:
    """Log-odds that an answer to a question entails another one.

    Raises:
        BadInput: the words for yes and no begin with the same token.
    """

    def __init__(self, model: Model, question: str, *, words: tuple[str, str] = (" yes", " no")) -> None:
        self._model = model
        self._opener = find_fast_opener(model) or model.open
        self._head = model.encode(f"{question.strip()}\nDo two answers say the same? Reply yes or no.\nFirst answer:")
        self._words = [model.encode(word, document_start=False)[0] for word in words]
        if self._words[0] == self._words[1]:
            raise BadInput(f"{words[0]!r} and {words[1]!r} must begin with different tokens of {model.name}.")
        self.num_tokens = 0

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Return the log-odds of yes (n,) for each pair, less those for an empty second answer; above 0 is yes."""
        if not pairs:
            return np.zeros(0)
        firsts = list(dict.fromkeys(first for first, _ in pairs))
        prompts = [self._build_prompt(first, second) for first, second in pairs]
        empty = [self._build_prompt(first, EMPTY_ANSWER) for first in firsts]
        scores = self._score_prompts([*prompts, *empty])
        reference = dict(zip(firsts, scores[len(pairs) :].tolist(), strict=True))
        return np.asarray(scores[: len(pairs)] - np.asarray([reference[first] for first, _ in pairs]))

    def compare_texts(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each two of n texts entail one another, (n, n); pairs that fail one way are not tried back."""
        equal = np.eye(len(texts), dtype=bool)
        forward = [(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts))]
        passed = self.score_pairs([(texts[i], texts[j]) for i, j in forward]) > 0.0
        kept = [pair for pair, good in zip(forward, passed.tolist(), strict=True) if good]
        back = self.score_pairs([(texts[j], texts[i]) for i, j in kept]) > 0.0
        for (i, j), good in zip(kept, back.tolist(), strict=True):
            equal[i, j] = equal[j, i] = good
        return equal

    def _build_prompt(self, first: str, second: str) -> list[int]:
        tail = f" {first.strip()}\nSecond answer: {second.strip()}\nReply:"
        return [*self._head, *self._model.encode(tail, document_start=False)]

    def _score_prompts(self, prompts: Sequence[list[int]]) -> Floats:
        self.num_tokens += sum(map(len, prompts))
        found = []
        for start in range(0, len(prompts), MAX_BATCH):
            session = self._opener(prompts[start : start + MAX_BATCH])
            energies = session.energies()[:, self._words]
            found.append(as_array(energies).astype(np.float64))
            session.close()
        yes, no = np.concatenate(found).T
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nan_to_num(no - yes, nan=0.0))
