"""Rank models by how well they predict a text: by free energy per byte, whatever their vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heatbath.engine.measurement import measure
from heatbath.errors import BadInput
from heatbath.estimate import Estimate
from heatbath.models.base import Model
from heatbath.record import Trace


@dataclass(frozen=True)
class ModelFit:
    r"""The fit of a model to a text.

    Attributes:
        name: name of the model.
        free_energy: $-\log p(\text{text})$ per byte, nats; its standard error is that of a ratio of sums over tokens,
            as if they were independent: an estimate for texts of the same kind and length. `ess` is their number.
        num_bytes: number of bytes scored.
        num_tokens: number of tokens scored.
    """

    name: str
    free_energy: Estimate
    num_bytes: int
    num_tokens: int


def rank_models(models: Sequence[Model] | Mapping[str, Model], text: str) -> list[ModelFit]:
    """Rank models by the free energy per byte of `text`, lowest first; ties stay in the order given.

    Per byte, since tokens of different vocabularies cannot be compared. A model without a document start cannot score
    its first token, whose bytes are then left out; compare models of one kind.

    Raises:
        BadInput: no models, an empty text, a text too short to score, or one that a model cannot spell.
        NotANumber: a model gave NaN; names the position.
    """
    named = models.items() if isinstance(models, Mapping) else [(model.name, model) for model in models]
    if not named:
        raise BadInput("there are no models to choose from: give at least one.")
    return sorted((_fit_model(name, model, text) for name, model in named), key=lambda found: found.free_energy.value)


def _fit_model(name: str, model: Model, text: str) -> ModelFit:
    trace = measure(model, text, bos=bool(model.vocabulary.start_token_ids))
    costs, sizes = _compute_token_costs(trace, model)
    if not sizes.sum():
        raise BadInput(f"{text!r} has nothing that {name} can score: give a longer text.")
    value = float(costs.sum() / sizes.sum())
    spread = np.sqrt(((costs - value * sizes) ** 2).sum()) if np.isfinite(value) else np.inf
    stderr = float(spread / sizes.sum()) if len(costs) > 1 else float("inf")
    return ModelFit(name, Estimate(value, stderr, float(len(costs))), int(sizes.sum()), len(costs))


def _compute_token_costs(trace: Trace, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return minus the log-probability of each scored token, nats, and its number of bytes."""
    logprob = np.asarray(trace.logprob(1.0), np.float64)
    scored = ~np.isnan(logprob)
    sizes = np.array([len(model.token_bytes(int(token))) for token in trace.tokens[scored]], np.float64)
    return -logprob[scored], sizes
