"""POST /v1/embeddings: sentence embeddings of all-MiniLM-L6-v2."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from starlette.responses import Response

from heatbath.engine.base import DeadlineExceeded
from heatbath.serve.errors import invalid_value
from heatbath.serve.model_names import EMBEDDING_MODEL
from heatbath.serve.openai.generation import GenerationPlan
from heatbath.serve.openai.models import EMBEDDING_MAX_TOKENS
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.sampling_params import context_overflow
from heatbath.serve.openai.schema.models import Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage
from heatbath.serve.openai.sse import run_until_disconnect

MAX_INPUTS = 2048
DIMENSIONS = 384
Floats = npt.NDArray[np.float64]
Inputs = list[str] | list[list[int]]


async def embeddings(context: RequestContext) -> Response:
    """Embed texts or token ids of the embedding model."""
    body = await context.read_body(EmbeddingRequest)
    context.services.model_names.resolve_embedding(body.model)
    size = body.dimensions or DIMENSIONS
    if size > DIMENSIONS:
        message = f"dimensions is {size}: {EMBEDDING_MODEL} has {DIMENSIONS}, give at most that."
        raise invalid_value(message, "dimensions")
    inputs = _parse_inputs(body.input)
    info = context.request_info({"dimensions": size, "inputs": len(inputs)}, model=EMBEDDING_MODEL)
    task = context.admit(GenerationPlan(info, (), store=False), sum(map(len, inputs)))
    watch = _StopWatch(context.services.settings.engine.deadline_seconds)
    work = asyncio.create_task(asyncio.to_thread(_embed, inputs, watch))
    work.add_done_callback(task.end_after)
    with watch:
        vectors, tokens = await run_until_disconnect(context.http, work)
    await task.settle([], {}, prompt_tokens=tokens)
    is_base64 = body.encoding_format == "base64"
    data = [
        Embedding(index=i, embedding=_encode_base64(vector) if is_base64 else vector.tolist())
        for i, vector in enumerate(_truncate(vectors, size))
    ]
    return context.json_response(EmbeddingList(data=data, model=EMBEDDING_MODEL, usage=EmbeddingUsage(tokens, tokens)))


def _parse_inputs(given: Any) -> Inputs:
    """Return the inputs as a list of texts or of lists of ids."""
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not inputs:
        raise invalid_value("input is []: give a text, token ids, or a list of them.", "input")
    if len(inputs) > MAX_INPUTS:
        raise invalid_value(f"input holds {len(inputs)} texts: give at most {MAX_INPUTS}.", "input")
    if len({type(each) for each in inputs}) > 1 or any(isinstance(each, int) for each in inputs):
        raise invalid_value("input mixes texts and token ids: give a list of one kind.", "input")
    if inputs is not given and isinstance(given, list) and not all(isinstance(token, int) for token in given):
        raise invalid_value("input mixes texts and token ids: give a list of one kind.", "input")
    for i, each in enumerate(inputs):
        if not each:
            place = "input" if inputs is not given else f"input[{i}]"
            raise invalid_value(f"{place} is empty: give a text.", place)
    return cast(Inputs, inputs)


class _StopWatch:
    """Ends the work of a thread at the deadline of its request, or once the request is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, time.monotonic() + seconds
        self._is_over = threading.Event()

    def __enter__(self) -> _StopWatch:
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()

    def check(self) -> None:
        """Raise `DeadlineExceeded` after the deadline, `CancelledError` if nobody waits for the result."""
        if self._is_over.is_set():
            raise asyncio.CancelledError
        if time.monotonic() >= self._end:
            raise DeadlineExceeded(f"the texts were not embedded within {self._seconds:g} s: send fewer at once.")


def _embed(inputs: Inputs, watch: _StopWatch) -> tuple[Floats, int]:
    """Return unit vectors, and the tokens that were read."""
    from heatbath.energy.potentials.embedding import load_minilm

    model = load_minilm()
    if isinstance(inputs[0], str):
        encoded = model.encode(inputs)
    else:
        _check_ids(inputs, model.vocab_size)
        encoded = [model.add_control_tokens(each) for each in inputs]
    _check_lengths(encoded)
    return model.embed_token_ids(encoded, before_batch=watch.check), sum(map(len, encoded))


def _check_ids(inputs: Sequence[Sequence[int]], size: int) -> None:
    for i, ids in enumerate(inputs):
        wrong = next((token for token in ids if token >= size), None)
        if wrong is not None:
            raise invalid_value(f"input[{i}] holds the token id {wrong}: give ids below {size}.", f"input[{i}]")


def _check_lengths(encoded: Sequence[Sequence[int]]) -> None:
    for i, ids in enumerate(encoded):
        if len(ids) > EMBEDDING_MAX_TOKENS:
            raise context_overflow(EMBEDDING_MAX_TOKENS, len(ids), f"input[{i}]")


def _truncate(vectors: Floats, size: int) -> Floats:
    """Return the first `size` components of each, as unit vectors again."""
    truncated = vectors[:, :size]
    return np.asarray(truncated / np.maximum(np.linalg.norm(truncated, axis=1, keepdims=True), 1e-300))


def _encode_base64(vector: Floats) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
