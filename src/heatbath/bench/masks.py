"""Fields that read text, on one core: microseconds per token along sequences of the default model.

A new field is evaluated at every prefix of every sequence, one row at a time, as in decoding. The time is that of a
whole call: the step of the automaton or parser, the mask and its energies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.decode.base import Floats
from heatbath.energy import Field, ForbiddenPhrases, Grammar
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


def lines(model: TransformersModel) -> Iterator[BenchmarkLine]:
    """Measure a JSON schema (mean, median) and a ban of phrases (mean). Raises `MissingExtra` without llguidance."""
    stop, size = model.vocabulary.stop_token_ids, model.vocabulary.size
    yield upper_limit_line(
        f"ban of {PHRASES} phrases, mean, V = {size}", _time_phrase_ban(model), limit=50, unit="µs/token"
    )
    grammar = _build_grammar(model)
    sequences = _generate_sequences(model, "A person as JSON:\n", fields=grammar)
    seconds = time_prefixes(_build_grammar(model), sequences, size, stop)
    name = f"mask of a JSON schema, {{}}, V = {size}"
    yield upper_limit_line(name.format("mean"), 1e6 * float(seconds.mean()), limit=100, unit="µs/token")
    yield upper_limit_line(name.format("median"), 1e6 * float(np.median(seconds)), limit=100, unit="µs/token")


def time_prefixes(field: Field, sequences: Sequence[Sequence[int]], size: int, stop: Sequence[int]) -> Floats:
    """Return the seconds of the field at every unfinished prefix of every sequence, in order, (n,)."""
    seconds = []
    for sequence in sequences:
        for length in range(len(sequence) + (not sequence or sequence[-1] not in stop)):
            context = Context([list(sequence[:length])], [0], size, stop)
            start = time.perf_counter()
            field(context)
            seconds.append(time.perf_counter() - start)
    return np.asarray(seconds)


def draw_phrases(model: TransformersModel, count: int = PHRASES, seed: int = 0) -> list[bytes]:
    """Draw distinct pairs and triples of common tokens, which plain text often starts and seldom completes."""
    rng = np.random.default_rng(seed)
    phrases: dict[bytes, None] = {}
    common = min(5000, model.vocabulary.size)
    first = len(model.vocabulary.special_token_ids)
    while len(phrases) < count:
        tokens = rng.integers(first, common, int(rng.integers(2, 4))).tolist()
        phrases[b"".join(map(model.token_bytes, tokens))] = None
    return list(phrases)


def _time_phrase_ban(model: TransformersModel) -> float:
    """Return the mean microseconds of a ban, along plain text."""
    field = ForbiddenPhrases(draw_phrases(model), model.token_bytes, model.vocabulary.size)
    sequences = _generate_sequences(model, "")
    return 1e6 * float(time_prefixes(field, sequences, model.vocabulary.size, model.vocabulary.stop_token_ids).mean())


def _build_grammar(model: TransformersModel) -> Grammar:
    return Grammar.from_json_schema(SCHEMA, model.token_bytes, model.vocabulary)


def _generate_sequences(model: TransformersModel, prompt: str, *, fields: Field | tuple[()] = ()) -> list[list[int]]:
    """Generate sequences at T = 1."""
    prompts = [model.encode(prompt)] * ROWS
    generation = generate(model, prompts, max_tokens=LENGTH, fields=fields, record=None)
    return [list(sequence) for sequence in generation.sequences]
