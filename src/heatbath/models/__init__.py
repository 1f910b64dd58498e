"""Sources of energies: exact models, and neural ones by name.

Names are imported when they are first used, so that an exact model does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.models.base import (
        AttentionModel,
        ChatModel,
        GradientModel,
        Model,
        NetworkModel,
        ScoreChunk,
        Session,
        ToolModel,
        Vocabulary,
    )
    from heatbath.models.exact.base import ExactModel
    from heatbath.models.exact.markov import MarkovModel
    from heatbath.models.exact.random_energy import RandomEnergyModel
    from heatbath.models.exact.table import TableModel
    from heatbath.models.exact.urn import UrnModel
    from heatbath.models.hf.transformers_model import TransformersModel
    from heatbath.models.hub.load import load
    from heatbath.models.restricted_model import RestrictedModel

_HOME = {
    "AttentionModel": "base",
    "ChatModel": "base",
    "ExactModel": "exact.base",
    "GradientModel": "base",
    "MarkovModel": "exact.markov",
    "Model": "base",
    "NetworkModel": "base",
    "RandomEnergyModel": "exact.random_energy",
    "RestrictedModel": "restricted_model",
    "Session": "base",
    "TableModel": "exact.table",
    "ToolModel": "base",
    "TransformersModel": "hf.transformers_model",
    "UrnModel": "exact.urn",
    "Vocabulary": "base",
    "ScoreChunk": "base",
    "load": "hub.load",
}

__all__ = [
    "AttentionModel",
    "ChatModel",
    "ExactModel",
    "GradientModel",
    "MarkovModel",
    "Model",
    "NetworkModel",
    "RandomEnergyModel",
    "RestrictedModel",
    "ScoreChunk",
    "Session",
    "TableModel",
    "ToolModel",
    "TransformersModel",
    "UrnModel",
    "Vocabulary",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"heatbath.models.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
