"""Where energies come from: exact models that can be enumerated, and neural ones loaded by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.models.base import Abilities, Model, Session, Vocabulary, Window
    from heatbath.models.exact import ExactModel
    from heatbath.models.markov import MarkovModel
    from heatbath.models.rem import RandomEnergyModel
    from heatbath.models.restricted import Restricted
    from heatbath.models.table import TableModel
    from heatbath.models.urn import UrnModel

__all__ = [
    "Abilities",
    "ExactModel",
    "MarkovModel",
    "Model",
    "RandomEnergyModel",
    "Restricted",
    "Session",
    "TableModel",
    "UrnModel",
    "Vocabulary",
    "Window",
]

_HOMES = {
    "Abilities": "base",
    "ExactModel": "exact",
    "MarkovModel": "markov",
    "Model": "base",
    "RandomEnergyModel": "rem",
    "Restricted": "restricted",
    "Session": "base",
    "TableModel": "table",
    "UrnModel": "urn",
    "Vocabulary": "base",
    "Window": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
