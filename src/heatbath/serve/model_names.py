"""Names that requests may call the model by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError
from heatbath.serve.settings import ModelSettings


@dataclass(frozen=True)
class ModelNames:
    """The name of the served model, and its aliases (alias -> name)."""

    model: str
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_names(self) -> list[str]:
        """All names, the model's own first."""
        return [self.model, *self.aliases]

    def resolve(self, name: str) -> str:
        """Return the name of the model that `name` stands for.

        Raises:
            ApiError: 404, there is no such model.
        """
        meant = self.aliases.get(name, name)
        if meant == self.model:
            return meant
        message = f"there is no model {name[:100]!r} here: use one of {', '.join(self.all_names)}."
        raise ApiError(404, message, code="model_not_found", param="model")


def build_model_names(settings: ModelSettings) -> ModelNames:
    """Return the names of the settings; a model that is a folder or file goes by the last part of its path.

    Raises:
        BadInput: an alias that leads nowhere.
    """
    model = Path(settings.name).name if Path(settings.name).exists() else settings.name
    resolved = {alias: _follow_alias(alias, settings.aliases) for alias in settings.aliases if alias != model}
    for alias, end in resolved.items():
        if end not in (model, settings.name):
            raise BadInput(f"model.aliases.{alias} leads to {end!r}, which is not served: let it lead to {model!r}.")
    return ModelNames(model, dict.fromkeys(resolved, model))


def _follow_alias(alias: str, aliases: Mapping[str, str]) -> str:
    seen = {alias}
    name = aliases[alias]
    while name in aliases and name not in seen:
        seen.add(name)
        name = aliases[name]
    return name
