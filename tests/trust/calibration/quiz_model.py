"""An exact model that answers questions, whose probability of its answer is that of being right."""

from __future__ import annotations

from functools import cache

import numpy as np

from heatbath.models import ExactModel
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import log_probabilities, parameter_fingerprint

DIGITS, LETTERS = b"0123456789", b"ABCDEFGH"
STOP = len(DIGITS) + len(LETTERS)
_MODULUS = 1_000_003


class QuizModel(ExactModel):
    """A prompt of digits is a question; the answer is one letter, whose energies depend on the whole prompt."""

    def __init__(self, seed: int = 0) -> None:
        symbols = [bytes([one]) for one in DIGITS + LETTERS] + [b"<end>"]
        super().__init__("quiz", Vocabulary(len(symbols), (), (STOP,)), symbols)
        self.seed = seed

    @property
    def fingerprint(self) -> str:
        return parameter_fingerprint("QuizModel", self.seed)

    def initial_state(self, rows: int) -> np.ndarray:
        return np.tile(np.array([[self.seed + 1, 0]], np.int64), (rows, 1))

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        is_letter = tokens >= len(DIGITS)
        return np.stack([(state[:, 0] * 31 + tokens + 1) % _MODULUS, state[:, 1] | is_letter], axis=1)

    def next_energies(self, state: np.ndarray) -> np.ndarray:
        return np.stack([context_energies(*context) for context in state.tolist()])


@cache
def context_energies(key: int, answered: int) -> np.ndarray:
    """The energies after a context, of a letter or of the end."""
    energies = np.full(STOP + 1, 40.0)
    if answered:
        energies[STOP] = 0.0
    else:
        energies[len(DIGITS) : STOP] = answer_energies(key)
    # The gauge of each context says nothing of the answer.
    return energies + np.random.default_rng([key, 1]).normal(scale=40)


def answer_energies(key: int) -> np.ndarray:
    rng = np.random.default_rng(key)
    return rng.normal(size=len(LETTERS)) * rng.uniform(0, 4)


def build_questions(model: QuizModel, count: int, seed: int = 0) -> list[dict[str, object]]:
    """Questions whose accepted answer is drawn from the model's own distribution."""
    rng = np.random.default_rng(seed)
    entries = []
    for number in rng.choice(90_000, count, replace=False).tolist():
        prompt = str(number + 10_000)
        state = model.initial_state(1)
        for token in model.encode(prompt):
            state = model.advance(state, np.array([token]))
        logprobs = log_probabilities(answer_energies(int(state[0, 0])), 1.0)
        right = int(rng.choice(len(LETTERS), p=np.exp(logprobs)))
        answer = LETTERS[right : right + 1].decode()
        entries.append({"prompt": prompt, "answer": answer, "grader": "exact", "group": f"group {number % 2}"})
    return entries
