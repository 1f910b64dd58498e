"""Names that requests may call the model by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError
from heatbath.serve.settings import ModelSettings

EMBEDDING_MODEL = "all-minilm-l6-v2"
"""The model of /v1/embeddings."""


@dataclass(frozen=True)
class ModelNames:
    """The name of the served model, its aliases (alias -> name), and other names of the embedding model."""

    model: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    embedding_aliases: tuple[str, ...] = ()

    @property
    def all_names(self) -> list[str]:
        """All names, the model's own first, without those of the embedding model."""
        return [self.model, *self.aliases]

    @property
    def embedding_names(self) -> list[str]:
        """All names of the embedding model, its own first."""
        return [EMBEDDING_MODEL, *self.embedding_aliases]

    def resolve(self, name: str) -> str:
        """Return the name of the model that `name` stands for.

        Raises:
            ApiError: 404, there is no such model.
        """
        resolved_name = self.aliases.get(name, name)
        if resolved_name == self.model:
            return resolved_name
        message = f"there is no model {name[:100]!r} here: use one of {', '.join(self.all_names)}."
        raise ApiError(404, message, code="model_not_found", param="model")

    def resolve_embedding(self, name: str) -> str:
        """Return the name of the embedding model that `name` stands for.

        Raises:
            ApiError: 404, there is no such model.
        """
        if name in self.embedding_names:
            return EMBEDDING_MODEL
        message = f"there is no embedding model {name[:100]!r} here: use one of {', '.join(self.embedding_names)}."
        raise ApiError(404, message, code="model_not_found", param="model")


def build_model_names(settings: ModelSettings) -> ModelNames:
    """Return the names of the settings; a model that is a folder or file goes by the last part of its path.

    Raises:
        BadInput: an alias that leads nowhere.
    """
    model = Path(settings.name).name if Path(settings.name).exists() else settings.name
    resolved = {alias: _follow_alias(alias, settings.aliases) for alias in settings.aliases if alias != model}
    for alias, end in resolved.items():
        if end not in (model, settings.name, EMBEDDING_MODEL):
            raise BadInput(
                f"model.aliases.{alias} leads to {end!r}, which is not served: let it lead to {model!r} or, for "
                f"embeddings, to {EMBEDDING_MODEL!r}."
            )
    embedding = tuple(alias for alias, end in resolved.items() if end == EMBEDDING_MODEL)
    return ModelNames(model, {alias: model for alias in resolved if alias not in embedding}, embedding)


def _follow_alias(alias: str, aliases: Mapping[str, str]) -> str:
    visited = {alias}
    name = aliases[alias]
    while name in aliases and name not in visited:
        visited.add(name)
        name = aliases[name]
    return name
