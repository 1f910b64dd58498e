"""A model with some tokens forbidden, for example the end of a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from heatbath.errors import BadInput
from heatbath.models.base import Model, ScoreChunk, Session, Tokens
from heatbath.models.exact.base import parameter_fingerprint


class RestrictedModel(Model):
    """A model with `forbidden_token_ids` at energy +inf, in sessions and in scoring.

    Raises `BadInput` for tokens outside the vocabulary and when all tokens are forbidden.
    """

    def __init__(self, model: Model, forbidden_token_ids: Sequence[int]) -> None:
        self.forbidden_token_ids = sorted(set(forbidden_token_ids))
        size = model.vocabulary.size
        if any(not 0 <= token < size for token in self.forbidden_token_ids):
            raise BadInput(
                f"`forbidden_token_ids` must be in the vocabulary of {size}, got {self.forbidden_token_ids}."
            )
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
        return self.restrict_session(self._model.open(prompts))

    @property
    def base_model(self) -> Model:
        """The model with all its tokens."""
        return self._model

    def restrict_session(self, session: Session) -> Session:
        """Return a session of the unrestricted model with the forbidden tokens at energy +inf."""
        return _RestrictedSession(session, self.forbidden_token_ids)

    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        for chunk in self._model.score(sequences):
            yield replace(chunk, energies=_forbid_tokens(chunk.energies, self.forbidden_token_ids))

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return self._model.encode(text, document_start=document_start)

    def token_bytes(self, token: int) -> bytes:
        return self._model.token_bytes(token)

    def decode(self, tokens: Tokens) -> str:
        return self._model.decode(tokens)


class _RestrictedSession(Session):
    def __init__(self, session: Session, forbidden_token_ids: list[int]) -> None:
        self._session = session
        self._forbidden_token_ids = forbidden_token_ids
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

    def close(self) -> None:
        self._session.close()
        self._energies = None


def _forbid_tokens(energies: Any, token_ids: list[int]) -> Any:
    # Multiplying by 1 copies an array of any library in its own dtype; the model's own array stays as it is.
    result = energies * 1
    result[..., token_ids] = float("inf")
    return result
