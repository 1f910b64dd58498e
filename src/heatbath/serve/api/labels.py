"""From log-probabilities of labels to the odds among them."""

from __future__ import annotations

import math
from collections.abc import Sequence

Tokens = tuple[int, ...]


def exclusive(labels: Sequence[Tokens], logprobs: Sequence[float]) -> list[float]:
    r"""Probabilities that the text begins with each label and with no longer one, (n,).

    $p(i) - \sum_j p(j)$ over the labels j that begin with label i and lie within no other such label. They add up to
    the probability that the text begins with any label, at most 1.
    """
    whole = [math.exp(value) for value in logprobs]
    return [max(0.0, whole[i] - sum(whole[j] for j in _next(labels, i))) for i in range(len(labels))]


def _next(labels: Sequence[Tokens], i: int) -> list[int]:
    """The shortest labels that go on from label i."""
    longer = [j for j in range(len(labels)) if _goes_on(labels[j], labels[i])]
    return [j for j in longer if not any(_goes_on(labels[j], labels[k]) for k in longer)]


def _goes_on(text: Tokens, start: Tokens) -> bool:
    return len(text) > len(start) and text[: len(start)] == start


def odds(probabilities: Sequence[float]) -> tuple[list[float], float] | None:
    """The probabilities among the labels, and their mass; None where it is too small to be divided by."""
    mass = math.fsum(probabilities)
    if not mass > 1e-300:
        return None
    return [each / mass for each in probabilities], min(mass, 1.0)
