"""Measure a text: one thermodynamic record for each of its tokens, teacher-forced."""

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
    """The trace of a text, or of its tokens: every token's record, given those before it.

    The first token has nothing before it and holds NaN, unless `bos` puts the model's document start there. A text
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
    """The traces of documents of any length, piece by piece in order, in constant memory.

    A document longer than the context comes in several pieces; once the context is full, half of it stays before the
    next fresh half, so that each token is scored once, with at least half a context before it. `after` = (sequence,
    position) skips what an earlier run has done. `options` are `bos` and `context` of `measure`.
    """
    beta = beta_from_temperature(temperature)
    stride = build_stride(model, bos=options.pop("bos", False), context=options.pop("context", None))
    if options:
        raise TypeError(f"measure_stream has no option {next(iter(options))!r}")
    about = Provenance.from_model(model)
    wanted = (piece for piece in split_documents(model, documents, stride) if _end_position(piece) > after)
    for batch in _batch_chunks(wanted):
        for piece, record in zip(batch, _score_batch(model, batch, beta), strict=True):
            tokens = np.asarray(piece.tokens[len(piece.tokens) - piece.num_scored :], np.int64)
            positions = piece.position + np.arange(piece.num_scored)
            yield Trace(tokens, positions, record, about, model.token_bytes, piece.sequence)


def join_traces(parts: Sequence[Trace]) -> Trace:
    """One trace of the pieces of one document, in order."""
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


def _end_position(piece: Chunk) -> tuple[int, int]:
    return piece.sequence, piece.position + piece.num_scored - 1


def _batch_chunks(pieces: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Pieces together that make a batch of bounded size."""
    batch: list[Chunk] = []
    for piece in pieces:
        if batch and (len(batch) == _BATCH_ROWS or sum(len(p.tokens) for p in [*batch, piece]) > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _score_batch(model: Model, batch: Sequence[Chunk], beta: float) -> list[Record]:
    """The records of the fresh tokens of each piece."""
    lengths = np.asarray([len(piece.tokens) for piece in batch])
    first = lengths - np.asarray([piece.num_scored for piece in batch])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = build_missing_record(int(offsets[-1]))
    for window in model.score([piece.tokens for piece in batch]):
        rows, positions = np.asarray(window.rows), np.asarray(window.positions)
        fresh = positions >= first[rows]
        if fresh.any():
            seen = _observe_tokens(model, window, fresh, beta)
            place = (offsets[rows] + positions)[fresh]
            for name in flat:
                flat[name][place] = seen[name]
    return [flat.take(slice(offsets[i] + first[i], offsets[i + 1])) for i in range(len(batch))]


def _observe_tokens(model: Model, window: ScoreChunk, fresh: NDArray[np.bool_], beta: float) -> Record:
    part = slice(None) if fresh.all() else np.flatnonzero(fresh)
    try:
        return observe(window.energies[part], np.asarray(window.targets)[part], beta=beta)
    except NotANumber as error:
        first = int(np.asarray(window.positions)[part].min())
        raise NotANumber(f"{model.name} gave NaN at or after token {first} of a text: {error}") from error
