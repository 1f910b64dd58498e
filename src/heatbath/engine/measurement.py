"""Measure texts: a thermodynamic record for each token, teacher-forced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.engine.chunking import Chunk, Document, build_stride, split_documents
from heatbath.errors import BadInput, NotANumber
from heatbath.models.base import Model, ScoreChunk, Tokens
from heatbath.record import Provenance, Record, Trace, build_missing_record, concatenate, observe

_BATCH_TOKENS = 4096
_BATCH_ROWS = 32


def measure(
    model: Model,
    text: str | Tokens,
    *,
    temperature: float = 1.0,
    bos: bool = False,
    context: int | None = None,
) -> Trace:
    """Return the trace of a text, or of its tokens: the record of every token given those before it.

    The record of the first token is NaN, unless `bos` puts the model's document start before it. A text
    longer than the model's context (or than `context`) is scored in strides; see `measure_stream`.

    Raises:
        BadInput: an empty text, a temperature below 0 or NaN, or `bos` for a model without a document start.
        NotANumber: the model gave NaN; names the position.
    """
    parts = list(measure_stream(model, [text], temperature=temperature, bos=bos, context=context))
    if not parts:
        raise BadInput("the text is empty: give at least one token.")
    return join_traces(parts)


def measure_stream(
    model: Model,
    documents: Iterable[Document],
    *,
    temperature: float = 1.0,
    after: tuple[int, int] = (-1, -1),
    **options: Any,
) -> Iterator[Trace]:
    """Yield the traces of documents of any length, chunk by chunk in order, in constant memory.

    A document longer than the context comes in several chunks; once the context is full, half of it stays before the
    next new half, so that each token is scored once, with at least half a context before it. `after` = (sequence,
    position) skips the chunks of an earlier run. `options` are `bos` and `context` of `measure`.
    """
    beta = beta_from_temperature(temperature)
    stride = build_stride(model, bos=options.pop("bos", False), context=options.pop("context", None))
    if options:
        raise TypeError(f"measure_stream has no option {next(iter(options))!r}")
    provenance = Provenance.from_model(model)
    chunks = (chunk for chunk in split_documents(model, documents, stride) if _end_position(chunk) > after)
    for batch in _batch_chunks(chunks):
        for chunk, record in zip(batch, _score_batch(model, batch, beta), strict=True):
            tokens = np.asarray(chunk.tokens[len(chunk.tokens) - chunk.num_scored :], np.int64)
            positions = chunk.position + np.arange(chunk.num_scored)
            yield Trace(tokens, positions, record, provenance, model.token_bytes, chunk.sequence)


def join_traces(parts: Sequence[Trace]) -> Trace:
    """Join the traces of the chunks of one document, in order."""
    if len(parts) == 1:
        return parts[0]
    tokens = np.concatenate([part.tokens for part in parts])
    positions = np.concatenate([part.positions for part in parts])
    record = concatenate([part.record for part in parts])
    return Trace(tokens, positions, record, parts[0].provenance, parts[0].token_to_bytes, parts[0].sequence)


def beta_from_temperature(temperature: float) -> float:
    """1/T; T = 0 is beta = inf.

    Raises:
        BadInput: below 0 or NaN.
    """
    if not temperature >= 0:
        raise BadInput(f"temperature is {temperature}: give a number from 0 up.")
    return 1.0 / temperature if temperature > 0 else float("inf")


def _end_position(chunk: Chunk) -> tuple[int, int]:
    return chunk.sequence, chunk.position + chunk.num_scored - 1


def _batch_chunks(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Group chunks into batches of bounded size."""
    batch: list[Chunk] = []
    for chunk in chunks:
        if batch and (len(batch) == _BATCH_ROWS or sum(len(c.tokens) for c in [*batch, chunk]) > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


def _score_batch(model: Model, batch: Sequence[Chunk], beta: float) -> list[Record]:
    """Return the records of the scored tokens of each chunk."""
    lengths = np.asarray([len(chunk.tokens) for chunk in batch])
    first = lengths - np.asarray([chunk.num_scored for chunk in batch])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = build_missing_record(int(offsets[-1]))
    for scores in model.score([chunk.tokens for chunk in batch]):
        rows, positions = np.asarray(scores.rows), np.asarray(scores.positions)
        scored = positions >= first[rows]
        if scored.any():
            record = _observe_tokens(model, scores, scored, beta)
            places = (offsets[rows] + positions)[scored]
            for name in flat:
                flat[name][places] = record[name]
    return [flat.take(slice(offsets[i] + first[i], offsets[i + 1])) for i in range(len(batch))]


def _observe_tokens(model: Model, scores: ScoreChunk, scored: NDArray[np.bool_], beta: float) -> Record:
    part = slice(None) if scored.all() else np.flatnonzero(scored)
    try:
        return observe(scores.energies[part], np.asarray(scores.targets)[part], beta=beta)
    except NotANumber as error:
        first = int(np.asarray(scores.positions)[part].min())
        raise NotANumber(f"{model.name} gave NaN at or after token {first} of a text: {error}") from error
