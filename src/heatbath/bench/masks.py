"""Fields that read text, on one core: microseconds a token along answers that the embedded model really gives.

Every answer is followed prefix by prefix by a field that has seen none of them, one row at a time, as a decoder that
has just drawn a token would ask. What is timed is the whole of a call: the step of the automaton or parser, the mask
and its energies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from heatbath.bench.base import Line, at_most
from heatbath.decode.base import Floats
from heatbath.energy import Field, ForbidPhrases, Grammar
from heatbath.energy.base import Context
from heatbath.engine import generate
from heatbath.models import TransformersModel

ROWS, LENGTH, PHRASES = 8, 48, 10_000
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
        "active": {"type": "boolean"},
    },
    "required": ["name", "age", "tags", "active"],
    "additionalProperties": False,
}


def lines(model: TransformersModel) -> Iterator[Line]:
    """Mean and median for a JSON schema, mean for a ban of phrases. Raises `MissingExtra` without llguidance."""
    stop, size = model.vocabulary.stop, model.vocabulary.size
    yield at_most(f"ban of {PHRASES} phrases, mean, V = {size}", _banning(model), limit=50, unit="µs/token")
    grammar = _grammar(model)
    answers = _answers(model, "A person as JSON:\n", fields=grammar)
    seconds = followed(_grammar(model), answers, size, stop)
    name = f"mask of a JSON schema, {{}}, V = {size}"
    yield at_most(name.format("mean"), 1e6 * float(seconds.mean()), limit=100, unit="µs/token")
    yield at_most(name.format("median"), 1e6 * float(np.median(seconds)), limit=100, unit="µs/token")


def followed(field: Field, answers: Sequence[Sequence[int]], size: int, stop: Sequence[int]) -> Floats:
    """Seconds of the field at every prefix of every answer that is open, in turn, (n,)."""
    seconds = []
    for answer in answers:
        for length in range(len(answer) + (not answer or answer[-1] not in stop)):
            context = Context([list(answer[:length])], [0], size, stop)
            start = time.perf_counter()
            field(context)
            seconds.append(time.perf_counter() - start)
    return np.asarray(seconds)


def phrases(model: TransformersModel, count: int = PHRASES, seed: int = 0) -> list[bytes]:
    """Different pairs and triples of common tokens, which plain text often begins and seldom completes."""
    rng = np.random.default_rng(seed)
    found: dict[bytes, None] = {}
    common = min(5000, model.vocabulary.size)
    first = len(model.vocabulary.special)
    while len(found) < count:
        tokens = rng.integers(first, common, int(rng.integers(2, 4))).tolist()
        found[b"".join(map(model.token_bytes, tokens))] = None
    return list(found)


def _banning(model: TransformersModel) -> float:
    """Mean microseconds of a ban, along plain text."""
    field = ForbidPhrases(phrases(model), model.token_bytes, model.vocabulary.size)
    answers = _answers(model, "")
    return 1e6 * float(followed(field, answers, model.vocabulary.size, model.vocabulary.stop).mean())


def _grammar(model: TransformersModel) -> Grammar:
    return Grammar.json_schema(SCHEMA, model.token_bytes, model.vocabulary)


def _answers(model: TransformersModel, prompt: str, *, fields: Field | tuple[()] = ()) -> list[list[int]]:
    """Answers drawn at T = 1."""
    prompts = [model.encode(prompt)] * ROWS
    drawn = generate(model, prompts, max_tokens=LENGTH, fields=fields, record=False)
    return [list(answer) for answer in drawn.drawn.answers]
