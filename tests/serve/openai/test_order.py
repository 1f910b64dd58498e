"""The order in which the parts of a request act is that of transformers and vLLM (the table in docs/serving.md)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from heatbath.decode.energy_pipeline import EnergyPipeline
from heatbath.energy.base import Context
from heatbath.energy.spec import BuildContext
from heatbath.engine.registry import FIELDS, WINDOWS, build
from heatbath.models.exact.markov import MarkovModel
from heatbath.serve.openai.sampling_components import request_fields, request_windows
from heatbath.serve.openai.schema.completions import CompletionRequest

Floats = npt.NDArray[np.float64]
SIZE = 12
MODEL = MarkovModel(np.zeros((SIZE, SIZE)))


def distribution(logits: Floats, body: dict[str, Any], prompt: list[int], drawn: list[int]) -> Floats:
    """The distribution of the next token for a request, (V,)."""
    request = msgspec.convert({"model": "m", "prompt": "x", **body}, CompletionRequest)
    context = BuildContext(MODEL, 16)
    fields = [build(FIELDS, (each.name, each.value), context) for each in request_fields(request, MODEL)]
    windows = [build(WINDOWS, (each.name, each.value), context) for each in request_windows(request)]
    here = Context([[*prompt, *drawn]], [len(prompt)], SIZE, (0,), energies=-logits[None])
    temperature = 1.0 if request.temperature is None else request.temperature
    result = EnergyPipeline(fields, windows)(here, np.asarray([1 / temperature]), lambda: np.asarray([0.5]))
    return softmax(-result.final_energies[0] / temperature)


def softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def by_transformers(logits: Floats, body: dict[str, Any], prompt: list[int], drawn: list[int]) -> Floats:
    """The processors in the order of `GenerationMixin._get_logits_processor` of transformers 5."""
    ids, scores = torch.tensor([[*prompt, *drawn]]), torch.tensor(logits)[None]
    steps: list[Any] = []
    if body.get("logit_bias"):
        steps.append(hf.SequenceBiasLogitsProcessor([[[int(t)], float(b)] for t, b in body["logit_bias"].items()]))
    if body.get("repetition_penalty"):
        steps.append(hf.RepetitionPenaltyLogitsProcessor(body["repetition_penalty"]))
    if body.get("min_tokens"):
        steps.append(hf.MinNewTokensLengthLogitsProcessor(len(prompt), body["min_tokens"], [0]))
    steps.append(hf.TemperatureLogitsWarper(body["temperature"]))
    if body.get("top_k"):
        steps.append(hf.TopKLogitsWarper(body["top_k"]))
    if body.get("top_p"):
        steps.append(hf.TopPLogitsWarper(body["top_p"]))
    if body.get("min_p"):
        steps.append(hf.MinPLogitsWarper(body["min_p"]))
    for step in steps:
        scores = step(ids, scores)
    return softmax(scores[0].numpy())


def by_vllm(logits: Floats, body: dict[str, Any], prompt: list[int], drawn: list[int]) -> Floats:
    """The steps of vLLM's sampler: what is allowed, minimum, bias, penalties, temperature; then the draw."""
    scores = logits.copy()
    allowed = body.get("allowed_token_ids")
    scores[[i for i in range(SIZE) if allowed and i not in allowed]] = -np.inf
    if len(drawn) < body.get("min_tokens", 0):
        scores[0] = -np.inf
    for token, bias in body.get("logit_bias", {}).items():
        scores[int(token)] += bias
    penalty = body.get("repetition_penalty", 1.0)
    for token in {*prompt, *drawn}:
        scores[token] *= 1 / penalty if scores[token] > 0 else penalty
    counts = np.bincount(drawn, minlength=SIZE)
    scores -= body.get("frequency_penalty", 0.0) * counts + body.get("presence_penalty", 0.0) * (counts > 0)
    return softmax(scores / body["temperature"])


TOKENS = st.integers(1, SIZE - 1)
LOGITS = st.lists(st.floats(-8, 8), min_size=SIZE, max_size=SIZE, unique=True).map(np.asarray)
BIAS = st.dictionaries(TOKENS.map(str), st.floats(-12, 12).filter(lambda value: abs(value) > 1e-3), max_size=4)
SHARED: dict[str, Any] = {
    "logit_bias": BIAS,
    "repetition_penalty": st.floats(0.5, 3.0),
    "min_tokens": st.integers(1, 4),
}
TEMPERATURE = {"temperature": st.floats(0.2, 3.0)}
WARPERS = {"top_k": st.integers(1, SIZE), "top_p": st.floats(0.05, 0.99), "min_p": st.floats(0.01, 0.9)}
PENALTIES = {"frequency_penalty": st.floats(-2, 2), "presence_penalty": st.floats(-2, 2)}


@settings(max_examples=60)
@given(
    LOGITS,
    st.fixed_dictionaries(TEMPERATURE, optional={**SHARED, **WARPERS}),
    st.lists(TOKENS, min_size=1, max_size=5),
    st.lists(TOKENS, max_size=3),
)
def test_the_distribution_is_that_of_transformers(
    logits: Floats, body: dict[str, Any], prompt: list[int], drawn: list[int]
) -> None:
    ours, theirs = distribution(logits, body, prompt, drawn), by_transformers(logits, body, prompt, drawn)
    other = (ours == 0) != (theirs == 0)
    if not other.any():
        assert ours == pytest.approx(theirs, abs=1e-6)
    # A token on the edge of a window is kept or not by rounding.
    assert other.sum() <= bool(set(WARPERS) & set(body))


@settings(max_examples=60)
@given(
    LOGITS,
    st.fixed_dictionaries(
        TEMPERATURE, optional={**SHARED, **PENALTIES, "allowed_token_ids": st.lists(TOKENS, min_size=1, max_size=6)}
    ),
    st.lists(TOKENS, min_size=1, max_size=5),
    st.lists(TOKENS, max_size=3),
)
def test_the_distribution_is_that_of_vllm(
    logits: Floats, body: dict[str, Any], prompt: list[int], drawn: list[int]
) -> None:
    assert distribution(logits, body, prompt, drawn) == pytest.approx(by_vllm(logits, body, prompt, drawn), abs=1e-6)


def test_the_penalty_divides_the_logit_with_its_bias() -> None:
    """(1.345 + 12) / 1.5 = 8.90 is less than the 10.01 of the runner-up; 1.345 / 1.5 + 12 would be more."""
    logits = np.full(SIZE, -5.0)
    logits[4], logits[7] = 1.345, 10.01
    body = {"logit_bias": {"4": 12}, "repetition_penalty": 1.5, "temperature": 0.1}
    found = distribution(logits, body, [4], [])
    assert int(found.argmax()) == 7
    assert np.log(found[7] / found[4]) * 0.1 == pytest.approx(10.01 - 13.345 / 1.5)
