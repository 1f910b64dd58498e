"""Where energies come from: exact models, and neural ones by name.

Names are imported when they are first used, so that reading an exact model does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.models.base import Abilities, Model, Session, Vocabulary, Window
    from heatbath.models.exact import ExactModel
    from heatbath.models.loading import load
    from heatbath.models.markov import MarkovModel
    from heatbath.models.rem import RandomEnergyModel
    from heatbath.models.restricted import Restricted
    from heatbath.models.table import TableModel
    from heatbath.models.transformers import TransformersModel
    from heatbath.models.urn import UrnModel

_HOME = {
    "Abilities": "base",
    "ExactModel": "exact",
    "MarkovModel": "markov",
    "Model": "base",
    "RandomEnergyModel": "rem",
    "Restricted": "restricted",
    "Session": "base",
    "TableModel": "table",
    "TransformersModel": "transformers",
    "UrnModel": "urn",
    "Vocabulary": "base",
    "Window": "base",
    "load": "loading",
}

__all__ = [
    "Abilities",
    "ExactModel",
    "MarkovModel",
    "Model",
    "RandomEnergyModel",
    "Restricted",
    "Session",
    "TableModel",
    "TransformersModel",
    "UrnModel",
    "Vocabulary",
    "Window",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"heatbath.models.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
