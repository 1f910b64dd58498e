"""Scores and rankings are log-probabilities of the model: by enumeration, by a direct forward pass, and as laws."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted
from serving import Server, server

from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.models import MarkovModel, Vocabulary
from heatbath.serve.openai.scoring import IMPOSSIBLE, posterior_probabilities

START = 256
ENERGIES = np.random.default_rng(5).normal(size=(257, 257))
ENERGIES[:, ord("#")] = np.inf  # no text of the model has it
LOG_P = -ENERGIES - np.logaddexp.reduce(-ENERGIES, -1, keepdims=True)


class Bytes(MarkovModel):
    """Bytes in a Markov chain with a start token before every document."""

    def __init__(self) -> None:
        super().__init__(ENERGIES)
        self.symbols = [bytes([byte]) for byte in range(256)] + [b"<s>"]
        self.vocabulary = Vocabulary(257, start_token_ids=(START,), special_token_ids=frozenset({START}))

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return [*([START] if document_start else []), *text.encode()]


def exact(given_: str, text: str) -> float:
    """Log-probability of `text` after `given_`, by the matrix of the chain."""
    tokens = [START, *given_.encode(), *text.encode()]
    steps = zip(
        tokens[len(tokens) - len(text.encode()) - 1 :], tokens[len(tokens) - len(text.encode()) :], strict=False
    )
    return math.fsum(LOG_P[a, b] for a, b in steps)


async def _post(model: Any, bodies: list[tuple[str, Any]]) -> list[Any]:
    engine = LocalEngine(model, config=EngineConfig(warm_up=False))
    await engine.start()
    transport = httpx2.ASGITransport(app=server(engine).app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        responses = [await client.post(path, json=body) for path, body in bodies]
    await engine.drain(5)
    return [response.json() for response in responses]


def ask(*bodies: tuple[str, Any], model: Any = None) -> list[Any]:
    return asyncio.run(_post(model or Bytes(), list(bodies)))


PAIRS = [("the sea", " is deep"), ("", "x"), ("the sea", ""), ("a", "Größe"), ("a", "no # there")]


@pytest.fixture(scope="module")
def made() -> Server:
    return server(Scripted())


def test_a_score_is_the_exact_log_probability_in_either_unit() -> None:
    first, second = map(list, zip(*PAIRS, strict=True))
    body = {"model": "mock", "text_1": first, "text_2": second}
    bits = {"thermo": {"unit": "bits", "per_token": True}}
    plain, told = ask(("/v1/score", body), ("/score", {"text_1": "a", "text_2": ["xy", "#"], **bits}))
    right = [exact(*pair) for pair in PAIRS]
    assert [each["index"] for each in plain["data"]] == list(range(len(PAIRS)))
    assert all("thermo" not in each and each["object"] == "score" for each in plain["data"])
    assert [each["score"] for each in plain["data"]][:4] == pytest.approx(right[:4], abs=1e-9)
    assert right[4] == -math.inf and plain["data"][4]["score"] == IMPOSSIBLE
    assert plain["data"][2]["score"] == 0.0
    xy, forbidden = told["data"]
    assert xy["score"] == pytest.approx(exact("a", "xy") / math.log(2) / 2, abs=1e-9)
    assert xy["thermo"] == {
        "logprob": pytest.approx(exact("a", "xy"), abs=1e-9),
        "bits": pytest.approx(exact("a", "xy") / math.log(2), abs=1e-9),
        "tokens": 2,
    }
    assert forbidden["score"] == IMPOSSIBLE
    assert plain["usage"]["prompt_tokens"] == sum(1 + len((a + b).encode()) for a, b in PAIRS)
    assert plain["usage"]["completion_tokens"] == 0


def test_probabilities_of_all_texts_of_one_length_add_up_to_one() -> None:
    texts = [chr(byte) for byte in range(128)]
    (answer,) = ask(("/v1/score", {"text_1": "the sea", "text_2": texts}))
    total = math.fsum(math.exp(each["score"]) for each in answer["data"])
    rest = math.fsum(np.exp(LOG_P[ord("a"), 128:]))
    assert total + rest == pytest.approx(1, abs=1e-9)


def test_one_text_with_several_is_each_pair() -> None:
    one, each, newer = ask(
        ("/v1/score", {"text_1": "ab", "text_2": ["c", "d"]}),
        ("/v1/score", {"text_1": ["ab", "ab"], "text_2": ["c", "d"]}),
        ("/v1/score", {"queries": ["ab"], "documents": ["c", "d"]}),
    )
    assert one["data"] == each["data"] == newer["data"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_documents_are_ranked_by_the_likelihood_of_the_query(path: str) -> None:
    documents: list[Any] = ["one", {"text": "two", "title": "ignored"}, "", "three # four"]
    (answer,) = ask((path, {"model": "mock", "query": "where", "documents": documents, "thermo": {}}))
    texts = ["one", "two", "", "three # four"]
    right = [exact(text + "\n", "where") for text in texts]
    order = sorted(range(4), key=lambda i: -right[i])
    assert [each["index"] for each in answer["results"]] == order
    found = [each["relevance_score"] for each in answer["results"]]
    assert found == pytest.approx([right[i] for i in order], abs=1e-9)
    assert [each["document"]["text"] for each in answer["results"]] == [texts[i] for i in order]
    weights = np.exp(np.array(right) - max(right))
    posterior = [each["thermo"]["posterior"] for each in answer["results"]]
    assert posterior == pytest.approx([weights[i] / weights.sum() for i in order], abs=1e-9)
    assert answer["usage"]["total_tokens"] == sum(1 + len(text) + 1 + 5 for text in texts)
    assert answer["meta"]["api_version"]["version"] == "2"


def test_a_ranking_is_cut_as_asked() -> None:
    body: dict[str, Any] = {"query": "where", "documents": ["one", "two", "three"]}
    whole, top, none, short, cut = ask(
        ("/rerank", body),
        ("/rerank", {**body, "top_n": 2}),
        ("/rerank", {**body, "top_n": 0}),
        ("/rerank", {**body, "top_n": 99, "return_documents": False}),
        ("/rerank", {**body, "max_tokens_per_doc": 2}),
    )
    assert top["results"] == whole["results"][:2] and none["results"] == whole["results"]
    assert [set(each) for each in short["results"]] == [{"index", "relevance_score"}] * 3
    right = [exact(text + "\n", "where") for text in ("o", "t", "t")]
    by_index = {each["index"]: each["relevance_score"] for each in cut["results"]}
    assert [by_index[i] for i in range(3)] == pytest.approx(right, abs=1e-9)
    tied = [each["index"] for each in cut["results"] if each["index"]]
    assert right[1] == right[2] and tied == [1, 2], "equal scores keep their order"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/score", {}, "text_1"),
        ("/v1/score", {"text_1": "a"}, "text_2"),
        ("/v1/score", {"text_1": [], "text_2": "a"}, "text_1"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_2"),
        ("/v1/score", {"text_1": "a", "queries": "b", "text_2": "c"}, "queries"),
        ("/v1/score", {"text_1": "a", "text_2": ["b", ""], "thermo": {"per_token": True}}, "text_2[1]"),
        ("/v1/score", {"text_1": "a", "text_2": "b", "thermo": {"unit": "dits"}}, "thermo.unit"),
        ("/v1/score", {"text_1": "a" * 5000, "text_2": "b"}, "text_1"),
        ("/v1/score", {"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 3}, "truncate_prompt_tokens"),
        ("/v1/score", {"model": "nobody", "text_1": "a", "text_2": "b"}, "model"),
        ("/v1/rerank", {"query": "", "documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["a"] * 1025}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["b", {"title": "x"}]}, "documents[1].text"),
        ("/v1/rerank", {"query": "a", "documents": ["b", "c" * 5000]}, "documents[1]"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "rank_fields": ["title"]}, "rank_fields"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": -1}, "top_n"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_place(made: Server, path: str, body: Any, param: str) -> None:
    answer = made.client.post(path, json=body)
    assert answer.status_code in (400, 404) and answer.json()["error"]["param"] == param, answer.text


def test_a_model_without_a_start_scores_nothing_after_nothing() -> None:
    model = MarkovModel(np.zeros((3, 3)))
    (answer,) = ask(("/score", {"text_1": "", "text_2": "a"}), model=model)
    assert answer["error"]["param"] == "text_1" and "no start token" in answer["error"]["message"]


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 0) | st.just(-math.inf), min_size=1, max_size=8))
def test_posteriors_are_a_distribution_in_the_order_of_the_likelihoods(logprobs: list[float]) -> None:
    found = posterior_probabilities(logprobs)
    if max(logprobs) == -math.inf:
        assert found == []
        return
    assert math.fsum(found) == pytest.approx(1) and all(0 <= each <= 1 for each in found)
    ranked = sorted(range(len(found)), key=lambda i: logprobs[i])
    assert all(found[a] <= found[b] for a, b in pairwise(ranked))


@pytest.mark.weights
def test_scores_are_those_of_a_forward_pass(smollm2: Any) -> None:
    pairs = [("The capital of France is", " Paris."), ("Größe und", " Façade"), ("", "Hello")]
    texts = ["Bananas are yellow.", "Paris is the capital of France.", "Water boils at 100 degrees."]
    bodies: list[tuple[str, Any]] = [("/v1/score", {"text_1": a, "text_2": b}) for a, b in pairs]
    *answers, ranking = ask(
        *bodies, ("/rerank", {"query": "What is the capital of France?", "documents": texts}), model=smollm2
    )
    for answer, pair in zip(answers, pairs, strict=True):
        assert answer["data"][0]["score"] == pytest.approx(_direct(smollm2, *pair), abs=1e-4)
    assert ranking["results"][0]["index"] == 1


def _direct(model: Any, first: str, second: str) -> float:
    """Log-probability of `second` after `first` by one forward pass."""
    start = model.encode(first) or list(model.vocabulary.start_token_ids)
    total = 0.0
    for window in model.score([start + model.encode(second, document_start=False)]):
        logits = -np.asarray(window.energies, np.float64)
        logprobs = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
        for position, target, row in zip(window.positions, window.targets, logprobs, strict=True):
            total += float(row[target]) if position >= len(start) else 0.0
    return total
