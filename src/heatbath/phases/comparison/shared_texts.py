"""The texts that both sides are compared on: of the user, or drawn by both sides; as tokens of each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from heatbath.errors import BadInput
from heatbath.models.base import Model, Tokens
from heatbath.phases.comparison.paired_samples import SideSamples

MAX_TOKENS = 512
"""Tokens of a stretch that is scored at once; longer texts are cut, so that (T, V) fits in memory."""
NUM_SAMPLED_TEXTS = 8
"""Texts of each side that serve as shared texts if the user gives none."""


@dataclass(frozen=True)
class SharedText:
    """A text as tokens of both sides; the first `context` tokens, the same on both sides, are not scored."""

    a: Tokens
    b: Tokens
    context: int
    num_bytes: int


def have_same_vocabulary(a: Model, b: Model) -> bool:
    """Return whether every token id stands for the same bytes in both models, and the same tokens end a text."""
    if a is b:
        return True
    size = a.vocabulary.size
    if size != b.vocabulary.size or set(a.vocabulary.stop_token_ids) != set(b.vocabulary.stop_token_ids):
        return False
    return all(a.token_bytes(token) == b.token_bytes(token) for token in range(size))


def share_texts(a: Model, b: Model, texts: Sequence[str]) -> list[SharedText]:
    """Encode texts for both models, behind the document start where they have one; long texts are cut in stretches.

    Raises:
        BadInput: the vocabularies differ and a model has no document start, or no text has two tokens.
    """
    same = have_same_vocabulary(a, b)
    starts = [model.vocabulary.start_token_ids[:1] for model in (a, b)]
    if not same and not all(starts):
        lacking = next(model.name for model, start in zip((a, b), starts, strict=True) if not start)
        raise BadInput(
            f"the vocabularies differ and {lacking} has no document start, so that its first token has no probability: "
            "give models of one vocabulary."
        )
    shared = [part for text in texts for part in _share_text(a, b, text, same)]
    if not shared:
        raise BadInput("no shared text has two tokens: give longer texts.")
    return shared


def _share_text(a: Model, b: Model, text: str, same: bool) -> Iterator[SharedText]:
    start_a, start_b = a.vocabulary.start_token_ids[:1], b.vocabulary.start_token_ids[:1]
    if same:
        tokens = a.encode(text)
        step = min(MAX_TOKENS, a.context_length or MAX_TOKENS, b.context_length or MAX_TOKENS) - len(start_a)
        for i in range(0, len(tokens), step):
            part = [*start_a, *tokens[i : i + step]]
            if len(part) > 1:
                scored = part[1:]
                yield SharedText(part, part, 1, sum(len(a.token_bytes(token)) for token in scored))
        return
    limit = min(model.context_length or MAX_TOKENS for model in (a, b))
    size = max(64, min(limit, MAX_TOKENS))  # characters: a token has at least a byte of text
    for i in range(0, len(text), size):
        piece = text[i : i + size]
        yield SharedText([*start_a, *a.encode(piece)], [*start_b, *b.encode(piece)], 1, len(piece.encode()))


def share_samples(a: SideSamples, b: SideSamples, temperature: float) -> list[SharedText]:
    """Return texts that both sides drew at the temperature nearest to `temperature`, as many of each side."""
    same = have_same_vocabulary(a.side.model, b.side.model)
    shared: list[SharedText] = []
    for sampled in (a, b):
        nearest = np.abs(1 / sampled.samples.betas - temperature)
        rows = np.flatnonzero(nearest == nearest.min())[:NUM_SAMPLED_TEXTS].tolist()
        for row in rows:
            if same:
                shared.append(_share_sample(sampled, row))
            else:
                text = b"".join(sampled.pieces[row]).decode("utf-8", errors="replace")
                shared += share_texts(a.side.model, b.side.model, [text])
    return shared


def _share_sample(sampled: SideSamples, row: int) -> SharedText:
    """Return a drawn text behind its prompt, whose tokens are not scored."""
    model, samples = sampled.side.model, sampled.samples
    prompt = sampled.prompts[row] or model.vocabulary.start_token_ids[:1]
    tokens = [*prompt, *samples.tokens[row, : samples.lengths[row]].tolist()]
    context = max(1, len(prompt))
    return SharedText(tokens, tokens, context, sum(len(model.token_bytes(token)) for token in tokens[context:]))
