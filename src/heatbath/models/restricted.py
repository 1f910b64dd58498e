"""A model with some tokens forbidden, the end of a document for instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from heatbath.errors import BadInput
from heatbath.models.base import Model, ScoreChunk, Session, Tokens
from heatbath.models.exact.base import parameter_fingerprint


class RestrictedModel(Model):
    """`model` with the tokens `forbidden` at energy +inf, when it draws and when it scores.

    Raises `BadInput` for tokens outside the vocabulary and when nothing is left.
    """

    def __init__(self, model: Model, forbidden_token_ids: Sequence[int]) -> None:
        self.forbidden_token_ids = sorted(set(forbidden_token_ids))
        size = model.vocabulary.size
        if any(not 0 <= token < size for token in self.forbidden_token_ids):
            raise BadInput(f"forbidden tokens {self.forbidden_token_ids} must lie in the vocabulary of {size}.")
        if len(self.forbidden_token_ids) == size:
            raise BadInput(f"all {size} tokens are forbidden: leave one.")
        self._model = model
        self.name = model.name
        self.vocabulary = model.vocabulary
        self.context_length = model.context_length

    @property
    def fingerprint(self) -> str:
        return parameter_fingerprint("Restricted", self._model.fingerprint, self.forbidden_token_ids)

    def open(self, prompts: Sequence[Tokens]) -> Session:
        return _RestrictedSession(self._model.open(prompts), self.forbidden_token_ids)

    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        for window in self._model.score(sequences):
            yield replace(window, energies=_forbid_tokens(window.energies, self.forbidden_token_ids))

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def token_bytes(self, token: int) -> bytes:
        return self._model.token_bytes(token)

    def decode(self, tokens: Tokens) -> str:
        return self._model.decode(tokens)


class _RestrictedSession(Session):
    def __init__(self, session: Session, forbidden: list[int]) -> None:
        self._session = session
        self._forbidden_token_ids = forbidden
        self._energies: Any = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return self._session.tokens

    def energies(self) -> Any:
        if self._energies is None:
            self._energies = _forbid_tokens(self._session.energies(), self._forbidden_token_ids)
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        self._session.push(tokens)
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        self._session.fork(indices)
        self._energies = None


def _forbid_tokens(energies: Any, forbidden: list[int]) -> Any:
    # Multiplying by 1 copies an array of any library in its own dtype; the model's own array stays as it is.
    kept = energies * 1
    kept[..., forbidden] = float("inf")
    return kept
