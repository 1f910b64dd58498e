r"""Labels as tokens, and the probability that a completion begins with each.

A completion answers with the longest label that it begins with. With several ways to write labels as tokens, S the set
of all these sequences, a label has the probability

$\sum_{s \in S_i} [p(s) - \sum_{t} p(t)]$, with t over the shortest members of S that go on after s,

so that the probabilities add up to that of the completions that begin with any label, the label mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from heatbath.engine.base import ModelInfo
from heatbath.errors import BadInput, format_value
from heatbath.models.continuations import ContinuationTree, build_continuation_tree

Floats = npt.NDArray[np.float64]
Tokens = tuple[int, ...]
Tokenizations = Literal["canonical", "all"]
"""The way of the tokenizer alone, or every sequence of tokens with the bytes of the label."""

TOKENIZATIONS: tuple[Tokenizations, ...] = get_args(Tokenizations)
MAX_TOKENIZATIONS = 256


@dataclass(frozen=True)
class LabelTokens:
    """The token sequences of each label, and their tree."""

    sequences: tuple[tuple[Tokens, ...], ...]

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """The label of each sequence, in the order of the tree's continuations."""
        return tuple(label for label, each in enumerate(self.sequences) for _ in each)

    @cached_property
    def tree_paths(self) -> tuple[Tokens, ...]:
        """All sequences, in the order of the tree's continuations."""
        return tuple(sequence for each in self.sequences for sequence in each)

    @cached_property
    def tree(self) -> ContinuationTree:
        """The tree of all sequences."""
        return build_continuation_tree(self.tree_paths)

    @cached_property
    def extensions(self) -> tuple[tuple[int, ...], ...]:
        """For each sequence, the shortest ones that go on after it, by number."""
        sequences = self.tree_paths
        numbers = {sequence: number for number, sequence in enumerate(sequences)}
        found: list[list[int]] = [[] for _ in sequences]
        for number, sequence in enumerate(sequences):
            shorter = (numbers.get(sequence[:length]) for length in range(len(sequence) - 1, 0, -1))
            start = next((each for each in shorter if each is not None), None)
            if start is not None:
                found[start].append(number)
        return tuple(map(tuple, found))

    def label_logprobs(self, logprobs: Floats) -> Floats:
        """Return log p of each label, (…, K), from log p of the sequences, (…, C)."""
        result = np.full((*logprobs.shape[:-1], len(self.sequences)), -np.inf)
        for number, owner in enumerate(self.owners):
            own = logprobs[..., number]
            base = np.where(np.isneginf(own), 0.0, own)[..., None]
            longer = np.exp(logprobs[..., list(self.extensions[number])] - base).sum(-1)
            with np.errstate(divide="ignore"):
                exclusive = own + np.log1p(-np.minimum(longer, 1.0))
            result[..., owner] = np.logaddexp(result[..., owner], exclusive)
        return result


def encode_labels(
    language: ModelInfo, labels: Sequence[str], tokenizations: Tokenizations = "canonical"
) -> LabelTokens:
    """Return the tokens of labels.

    Raises:
        BadInput: labels with the same tokens, or with too many tokenizations.
    """
    if tokenizations not in TOKENIZATIONS:
        raise BadInput(
            f"`tokenizations` must be canonical or all, got {format_value(tokenizations)}.", param="tokenizations"
        )
    canonical = [tuple(language.encode(label, document_start=False)) for label in labels]
    sequences: list[tuple[Tokens, ...]] = [(each,) for each in canonical]
    if tokenizations == "all":
        finder = _TokenFinder(language, labels)
        sequences = [finder.list_sequences(label, each) for label, each in zip(labels, canonical, strict=True)]
    owners: dict[Tokens, str] = {}
    for label, each in zip(labels, sequences, strict=True):
        for sequence in each:
            if owners.setdefault(sequence, label) != label:
                raise BadInput(
                    f"the labels {owners[sequence]!r} and {label!r} have the same tokens: make them differ.",
                    param="options",
                )
    return LabelTokens(tuple(sequences))


class _TokenFinder:
    """The tokens of a vocabulary whose bytes occur in some labels."""

    def __init__(self, language: ModelInfo, labels: Sequence[str]) -> None:
        content = "\0".join(labels).encode()
        special = language.vocabulary.special_token_ids
        self._by_bytes: dict[bytes, list[int]] = {}
        for token in range(language.vocabulary.size):
            piece = b"" if token in special else language.token_bytes(token)
            if piece and piece in content:
                self._by_bytes.setdefault(piece, []).append(token)

    def list_sequences(self, label: str, canonical: Tokens) -> tuple[Tokens, ...]:
        """Return all token sequences with the bytes of a label, the canonical one first."""
        content = label.encode()
        ways: list[list[Tokens]] = [[()]]
        for end in range(1, len(content) + 1):
            found = [
                (*before, token)
                for begin in range(end)
                for token in self._by_bytes.get(content[begin:end], ())
                for before in ways[begin]
            ]
            if len(found) > 4 * MAX_TOKENIZATIONS:
                raise _too_many_error(label)
            ways.append(found)
        if len(ways[-1]) > MAX_TOKENIZATIONS:
            raise _too_many_error(label)
        return (canonical, *(each for each in ways[-1] if each != canonical))


def _too_many_error(label: str) -> BadInput:
    return BadInput(
        f"the label {label!r} has more than {MAX_TOKENIZATIONS} tokenizations: shorten it, or take canonical.",
        param="tokenizations",
    )
