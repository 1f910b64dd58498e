"""The measured support of an answer by eight documents, against separate forward passes of `transformers`.

The separate passes are one over the prompt with all documents and one without each, every one followed by the answer,
which gives all sentences at once. They are timed with the log-probabilities of all positions, as a plain call gives
them, and with those of the answer alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, limit_torch_threads, time_sides, upper_limit_line
from heatbath.errors import ModelError
from heatbath.models import load
from heatbath.models.session_scoring import build_continuation_scorer
from heatbath.retrieval.answer_units import AnswerUnit
from heatbath.retrieval.support import SupportMethod, SupportRequest, build_support_request, measure_support

MODEL = "smollm2-135m"
NUM_DOCUMENTS = 8
HEAD, DOCUMENT, QUESTION = 40, 128, 30
SENTENCES = (20, 40, 60, 80)
LIMIT = 0.35
TOLERANCE = 1e-3
"""Nats by which the two sides may differ: rounding of float32 over 80 tokens."""


@dataclass(frozen=True)
class SeparatePasses:
    """The support from whole forward passes, without a cache."""

    module: Any
    request: SupportRequest

    def measure(self, *, all_logits: bool) -> Any:
        """Return the support, (sentences, documents)."""
        import torch

        answer, rows = self.request.paths[-1], []
        for prompt in self.request.prompts:
            tokens = torch.tensor([[*prompt, *answer]])
            with torch.inference_mode():
                logits = self.module(tokens, logits_to_keep=0 if all_logits else len(answer) + 1).logits[0]
            logprobs = torch.log_softmax(logits[-len(answer) - 1 : -1], -1)[range(len(answer)), answer]
            ends = [0, *map(len, self.request.paths)]
            rows.append([float(logprobs[begin:end].double().sum()) for begin, end in pairwise(ends)])
        found = np.array(rows)
        return (found[0] - found[1:]).T


def build_request(vocab_size: int) -> SupportRequest:
    """Return a request over random tokens."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> list[int]:
        return [int(token) for token in rng.integers(vocab_size // 10, vocab_size, count)]

    head, documents, question = draw(HEAD), [draw(DOCUMENT) for _ in range(NUM_DOCUMENTS)], draw(QUESTION)
    prompts = [
        [*head, *(token for i, document in enumerate(documents) if i != left_out for token in document), *question]
        for left_out in (None, *range(NUM_DOCUMENTS))
    ]
    units = [AnswerUnit(0, 1, (span,)) for span in pairwise((0, *SENTENCES))]
    return build_support_request(prompts, draw(SENTENCES[-1]), units)


def lines() -> Iterator[BenchmarkLine]:
    """Yield the ratio to both ways of separate passes."""
    model: Any = load(MODEL, dtype="float32")
    request = build_request(model.vocabulary.size)
    scorer, passes = build_continuation_scorer(model), SeparatePasses(model.network.module, request)

    def measure_shared(method: SupportMethod = "exact") -> Any:
        scorer.clear_prefixes()
        return measure_support(scorer, request, method=method).nats

    with limit_torch_threads(2):
        error = float(np.abs(measure_shared() - passes.measure(all_logits=False)).max())
        if not error <= TOLERANCE:
            raise ModelError(f"shared prefixes give another support than separate passes, by {error:.2g} nats.")
        sides = {
            "exact": measure_shared,
            "masked": lambda: measure_shared("masked"),
            "all": lambda: passes.measure(all_logits=True),
            "answer": lambda: passes.measure(all_logits=False),
        }
        seconds = time_sides(sides, repeats=3)
    size = f"{NUM_DOCUMENTS} documents of {DOCUMENT} tokens"
    for method in ("exact", "masked"):
        for side, words in (("all", "forward passes"), ("answer", "forward passes, logits of the answer alone")):
            name = f"{method} support by {size}, over {NUM_DOCUMENTS + 1} {words}"
            yield upper_limit_line(name, seconds[method], seconds[side], limit=LIMIT, unit="s")
