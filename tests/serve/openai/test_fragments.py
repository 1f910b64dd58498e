"""Labels of decisions and texts of fields are fragments: a tokenizer's document start is no part of them."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import httpx2
import numpy as np
import pytest
from serving import server

import heatbath as hb
from heatbath.engine.local import LocalEngine
from heatbath.errors import BadInput
from heatbath.models import MarkovModel, Vocabulary
from heatbath.serve.openai.questions import label_question, question_prompt
from heatbath.serve.openai.schema.decisions import Predicate

START = 256
ENERGIES = np.random.default_rng(3).normal(size=(257, 257))


class Started(MarkovModel):
    """Bytes in a Markov chain; its tokenizer puts a start token before every text, as Llama's does."""

    def __init__(self) -> None:
        super().__init__(ENERGIES)
        self.symbols = [bytes([byte]) for byte in range(256)] + [b"<s>"]
        self.vocabulary = Vocabulary(257, start_token_ids=(START,), special_token_ids=frozenset({START}))

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return [*([START] if document_start else []), *text.encode()]


def _label_logprob(model: Started, prompt: list[int], label: bytes) -> float:
    tokens = [*prompt, *label]
    log_p = -ENERGIES - np.log(np.exp(-ENERGIES).sum(-1, keepdims=True))
    return float(sum(log_p[a, b] for a, b in zip(tokens[len(prompt) - 1 :], tokens[len(prompt) :], strict=False)))


async def _ask(model: Started, body: Any) -> Any:
    engine = LocalEngine(model)
    await engine.start()
    transport = httpx2.ASGITransport(app=server(engine).app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post("/v1/decisions", json=body)
    await engine.drain(5)
    return response.json()


def test_a_label_is_scored_alone() -> None:
    model = Started()
    question = {"type": "predicate", "name": "q", "instructions": "It rains."}
    answer = asyncio.run(_ask(model, {"model": "mock", "input": "Wet streets.", "questions": [question]}))["answers"][0]
    text = label_question(Predicate(name="q", instructions="It rains."), "Wet streets.", "questions[0]").text
    prompt = list(question_prompt(model, text))  # type: ignore[arg-type]
    assert prompt[0] == START and START not in prompt[1:]
    yes, no = (_label_logprob(model, prompt, label) for label in (b"Yes", b"No"))
    right = math.exp(yes) / (math.exp(yes) + math.exp(no))
    assert answer["probability"] == pytest.approx(right, abs=1e-6)
    # With the start token before the labels, their odds are those after it.
    started = math.exp(ENERGIES[START, ord("N")] - ENERGIES[START, ord("Y")])
    alone = math.exp(ENERGIES[prompt[-1], ord("N")] - ENERGIES[prompt[-1], ord("Y")])
    assert abs(math.log(started / alone)) > 0.5


def test_a_bias_on_a_text_is_on_its_token() -> None:
    model = Started()
    generation = hb.generate(model, "a", fields={"bias": {"y": 50.0}}, max_tokens=4, seed=0)
    assert generation.text == "yyyy"
    lambdas: dict[str, Any] = {"max_entropy": {"features": {"z": [1.0]}, "lambdas": [-50.0]}}
    assert hb.generate(model, "a", fields=lambdas, max_tokens=4, seed=0).text == "zzzz"
    with pytest.raises(BadInput, match="'yz' is 2 tokens"):
        hb.generate(model, "a", fields={"bias": {"yz": 1.0}}, max_tokens=1)


def test_a_marker_of_text_switches_the_temperature() -> None:
    model = Started()
    schedule = {"by_phase": {"marker": "yy", "before": 1.0, "after": 0.0}}
    fields = {"bias": {"y": 50.0}}
    generation = hb.generate(model, "a", fields=fields, schedule=schedule, max_tokens=6, seed=0, record="full")
    assert list(generation.trace(0).record["temperature"])[-6:] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
