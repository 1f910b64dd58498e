"""The energies of a model against a plain forward pass of `transformers`, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from heatbath.models.base import Tokens
from heatbath.models.hf.network_check import EnergyDifference, energy_difference
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.pool.open_pool import build_pool


@dataclass(frozen=True)
class ReferenceErrors:
    """Distances from a plain forward pass.

    Attributes:
        score: energies of measuring, at every position.
        session: energies of generation: prompts of different lengths in one batch, then token by token.
        pool: energies of a server's batch, the same way.
        token_errors: errors of the log-probability of the tokens themselves, by measuring, (n,).
    """

    score: EnergyDifference
    session: EnergyDifference
    pool: EnergyDifference
    token_errors: torch.Tensor


def compare_with_module(model: TransformersModel, module: Any, sequences: Sequence[Tokens]) -> ReferenceErrors:
    """Compare a model with a causal language model of `transformers`, by one uncached pass for each sequence.

    `sequences` of 4 tokens at least; those of different lengths test padding.
    """
    reference = [_reference_energies(model, module, tokens) for tokens in sequences]
    actual, expected, errors = _score_pairs(model, sequences, reference)
    score = energy_difference(actual, expected)
    session = energy_difference(*_session_pairs(model, sequences, reference))
    pool = energy_difference(*_pool_pairs(model, sequences, reference))
    return ReferenceErrors(score, session, pool, errors.abs())


def _reference_energies(model: TransformersModel, module: Any, tokens: Tokens) -> torch.Tensor:
    """Return the energies after each position of a sequence, (T, V), by definition."""
    with torch.inference_mode():
        logits = module(torch.tensor([list(tokens)], device=model.device), use_cache=False).logits[0]
        return model.network.close_tokens(-logits.double())


def _score_pairs(
    model: TransformersModel, sequences: Sequence[Tokens], reference: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return energies of `score` and of the reference, (n, V), and errors of the tokens' log-probabilities, (n,)."""
    actual, expected, errors = [], [], []
    for chunk in model.score(sequences):
        theirs = torch.stack(
            [reference[row][position - 1] for row, position in zip(chunk.rows, chunk.positions, strict=True)]
        )
        ours, index = chunk.energies.double(), torch.tensor(chunk.targets, device=model.device)[:, None]
        gap = (-ours).log_softmax(-1).gather(-1, index) - (-theirs).log_softmax(-1).gather(-1, index)
        actual.append(ours)
        expected.append(theirs)
        errors.append(gap[:, 0])
    return torch.cat(actual), torch.cat(expected), torch.cat(errors)


def _session_pairs(
    model: TransformersModel, sequences: Sequence[Tokens], reference: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return energies of a session and of the reference, (n, V), with a fork that turns the rows around."""
    steps, lengths = _plan_steps(sequences)
    order = list(range(len(sequences)))
    session = model.open([tokens[:length] for tokens, length in zip(sequences, lengths, strict=True)])
    actual, expected = [], []
    for step in range(steps + 1):
        actual.append(session.energies().double())
        expected.append(torch.stack([reference[row][lengths[row] + step - 1] for row in order]))
        if step == steps:
            break
        if step == 1:
            session.fork(list(reversed(range(len(order)))))
            order.reverse()
        session.push([sequences[row][lengths[row] + step] for row in order])
    return torch.cat(actual), torch.cat(expected)


def _pool_pairs(
    model: TransformersModel, sequences: Sequence[Tokens], reference: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return energies of a pool and of the reference, (n, V)."""
    steps, lengths = _plan_steps(sequences)
    pool, actual, expected = build_pool(model), [], []
    rows = [pool.open([tokens[:length]])[0] for tokens, length in zip(sequences, lengths, strict=True)]
    for step in range(steps + 1):
        actual.append(pool.energies(rows).double())
        expected.append(torch.stack([reference[row][lengths[row] + step - 1] for row in range(len(rows))]))
        if step < steps:
            pool.push(rows, [tokens[length + step] for tokens, length in zip(sequences, lengths, strict=True)])
    return torch.cat(actual), torch.cat(expected)


def _plan_steps(sequences: Sequence[Tokens]) -> tuple[int, list[int]]:
    """Return the number of tokens to push, and the length of each prompt."""
    steps = max(1, min(map(len, sequences)) // 2)
    return steps, [len(tokens) - steps for tokens in sequences]
