"""A model seen through something that answers a part of what is asked of it."""

from __future__ import annotations

from typing import Any

from heatbath.energy.vocab_bytes import TokenBytesCache
from heatbath.models.base import Model


class Through:
    """Passes on to `model` whatever a subclass does not answer itself."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class Spelled(Through):
    """A model whose vocabulary is read once: what fields make of it is kept for the next."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.token_bytes = TokenBytesCache(model.token_bytes, model.vocabulary.size)
