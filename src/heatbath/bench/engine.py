"""The overhead of the engine over the model, on the embedded model.

Measuring against the bare forward pass; generation with and without records, and against `transformers.generate`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line, time_sides, upper_limit_line
from heatbath.engine import generate, measure
from heatbath.engine.base import RecordMode
from heatbath.models import TransformersModel, load

MODEL = "smollm2-135m"
_LENGTH = 1024
_ROWS = 64
_NEW_TOKENS = 128


def lines() -> Iterator[BenchmarkLine]:
    """Measure the lines of the engine."""
    exact = load(MODEL, dtype="float32")
    yield _measure_line(exact)
    yield _memory_line()
    del exact
    half = load(MODEL, dtype="bfloat16")
    yield _record_line(half)
    yield _generate_line(half)


def _measure_line(model: TransformersModel) -> BenchmarkLine:
    """Measure tokens per second of `measure`, against a forward pass that returns all logits of the same text."""
    import torch

    tokens = _draw_tokens(model, _LENGTH)
    module: Any = model.network.module
    ids = torch.tensor([tokens], device=model.device)

    def bare() -> object:
        with torch.inference_mode():
            return module(input_ids=ids, use_cache=False).logits

    seconds = time_sides({"measure": lambda: measure(model, tokens), "bare": bare}, repeats=5)
    ours, theirs = (_LENGTH / seconds[name] for name in ("measure", "bare"))
    return lower_limit_line("measure against the bare forward pass, float32", ours, theirs, limit=0.9, unit="token/s")


def _draw_tokens(model: TransformersModel, count: int) -> list[int]:
    """Draw ordinary tokens, the same ones every time."""
    tokens: list[int] = np.random.default_rng(0).integers(100, model.vocabulary.size, count).tolist()
    return tokens


def _memory_line() -> BenchmarkLine:
    """Measure the peak memory of `measure` on a text 8 times as long, in separate processes."""
    short, long = (_measure_peak_memory(length) for length in (_LENGTH, 8 * _LENGTH))
    return upper_limit_line("peak memory of measure, 8 x the text against 1 x", long, short, limit=1.1, unit="MB")


def _measure_peak_memory(length: int) -> float:
    process = subprocess.run([sys.executable, "-c", _CHILD, str(length)], check=True, capture_output=True, text=True)
    return float(process.stdout)


_CHILD = "import sys; from heatbath.bench.engine import child; child(int(sys.argv[1]))"


def child(length: int) -> None:
    """Measure a text of `length` tokens in strides of 512 and print the peak memory of this process, MB."""
    from heatbath.engine import measure_stream

    model = load(MODEL, dtype="float32")
    for _ in measure_stream(model, [_draw_tokens(model, length)], context=512):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _record_line(model: TransformersModel) -> BenchmarkLine:
    """Measure tokens per second of generation with the record on and off."""

    def run(record: RecordMode) -> object:
        return _generate_with_heatbath(model, record=record)

    seconds = time_sides({"on": lambda: run("full"), "off": lambda: run(None)}, repeats=3)
    ours, theirs = (_ROWS * _NEW_TOKENS / seconds[name] for name in ("on", "off"))
    return lower_limit_line(
        f"generation with the record on against off, bfloat16, B = {_ROWS}", ours, theirs, limit=0.95, unit="token/s"
    )


def _generate_line(model: TransformersModel) -> BenchmarkLine:
    """Measure tokens per second of generation with the record on, against `transformers.generate`."""
    sides = {
        "ours": lambda: _generate_with_heatbath(model, record="full"),
        "theirs": lambda: _generate_with_transformers(model),
    }
    seconds = time_sides(sides, repeats=2)
    ours, theirs = (_ROWS * _NEW_TOKENS / seconds[name] for name in ("ours", "theirs"))
    return lower_limit_line(
        f"generation against transformers.generate, bfloat16, B = {_ROWS}", ours, theirs, limit=1.9, unit="token/s"
    )


def _generate_with_heatbath(model: TransformersModel, *, record: RecordMode) -> object:
    """Generate rows from the document start that never end, so that both sides draw the same number of tokens."""
    return generate(model, [[]] * _ROWS, max_tokens=_NEW_TOKENS, record=record, ignore_eos=True)


def _generate_with_transformers(model: TransformersModel) -> object:
    import torch

    ids = torch.tensor([list(model.vocabulary.start_token_ids)] * _ROWS, device=model.device)
    options = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0, "pad_token_id": 0}
    module: Any = model.network.module
    with torch.inference_mode():
        return module.generate(
            ids, attention_mask=torch.ones_like(ids), min_new_tokens=_NEW_TOKENS, max_new_tokens=_NEW_TOKENS, **options
        )
