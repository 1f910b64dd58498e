"""POST /v1/embeddings: sentence embeddings of all-MiniLM-L6-v2."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from starlette.responses import Response

from heatbath.serve.api.call import Call
from heatbath.serve.api.exchange import Order
from heatbath.serve.api.models import EMBEDDING, EMBEDDING_TOKENS
from heatbath.serve.api.reading import shown
from heatbath.serve.api.schema.models import Embedding, EmbeddingRequest, Embeddings, EmbeddingUsage
from heatbath.serve.api.sse import unless_gone
from heatbath.serve.errors import ApiError, invalid_value

MOST_INPUTS = 2048
SIZE = 384
Floats = npt.NDArray[np.float64]
Input = list[str] | list[list[int]]


async def embeddings(call: Call) -> Response:
    """Embed texts or tokens of the embedding model."""
    asked = await call.body(EmbeddingRequest)
    if asked.model != EMBEDDING:
        message = f"there is no embedding model {shown(asked.model)} here: use {EMBEDDING}."
        raise ApiError(404, message, code="model_not_found", param="model")
    size = asked.dimensions or SIZE
    if size > SIZE:
        raise invalid_value(f"dimensions is {size}: {EMBEDDING} has {SIZE}, give at most that.", "dimensions")
    inputs = _inputs(asked.input)
    ticket = call.ticket(EMBEDDING, False, {"dimensions": size, "inputs": len(inputs)})
    exchange = call.take(Order(ticket, (), keep=False), sum(map(len, inputs)))
    task = asyncio.create_task(asyncio.to_thread(_embedded, inputs))
    exchange.follow(task)
    vectors, tokens = await unless_gone(call.request, task)
    await exchange.settle([], {}, prompt_tokens=tokens)
    plain = asked.encoding_format != "base64"
    data = [
        Embedding(index=i, embedding=vector.tolist() if plain else _base64(vector))
        for i, vector in enumerate(_cut(vectors, size))
    ]
    return call.answer(Embeddings(data=data, model=EMBEDDING, usage=EmbeddingUsage(tokens, tokens)))


def _inputs(given: Any) -> Input:
    """The inputs as a list of texts or of lists of ids."""
    many = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not many:
        raise invalid_value("input is []: give a text, token ids, or a list of them.", "input")
    if len(many) > MOST_INPUTS:
        raise invalid_value(f"input holds {len(many)} texts: give at most {MOST_INPUTS}.", "input")
    if len({type(each) for each in many}) > 1 or any(isinstance(each, int) for each in many):
        raise invalid_value("input mixes texts and token ids: give a list of one kind.", "input")
    if many is not given and isinstance(given, list) and not all(isinstance(token, int) for token in given):
        raise invalid_value("input mixes texts and token ids: give a list of one kind.", "input")
    for i, each in enumerate(many):
        if not each:
            place = "input" if many is not given else f"input[{i}]"
            raise invalid_value(f"{place} is empty: give a text.", place)
    return cast(Input, many)


def _embedded(inputs: Input) -> tuple[Floats, int]:
    """Vectors of length one, and the tokens that were read."""
    from heatbath.energy.potentials.embedding import load_minilm

    model = load_minilm()
    if isinstance(inputs[0], str):
        encoded = model.encode(inputs)
    else:
        _check_ids(inputs, model.vocab_size)
        encoded = [model.add_control_tokens(each) for each in inputs]
    _check_lengths(encoded)
    return model.embed_token_ids(encoded), sum(map(len, encoded))


def _check_ids(inputs: Sequence[Sequence[int]], size: int) -> None:
    for i, ids in enumerate(inputs):
        wrong = next((token for token in ids if token >= size), None)
        if wrong is not None:
            raise invalid_value(f"input[{i}] holds the token id {wrong}: give ids below {size}.", f"input[{i}]")


def _check_lengths(encoded: Sequence[Sequence[int]]) -> None:
    for i, ids in enumerate(encoded):
        if len(ids) > EMBEDDING_TOKENS:
            message = f"input[{i}] has {len(ids)} tokens and {EMBEDDING} reads {EMBEDDING_TOKENS}: shorten it."
            raise ApiError(400, message, code="context_length_exceeded", param=f"input[{i}]")


def _cut(vectors: Floats, size: int) -> Floats:
    """The first `size` numbers of each, of length one again."""
    kept = vectors[:, :size]
    return np.asarray(kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-300))


def _base64(vector: Floats) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
