"""Signals that evaluate the model again: attention, entailment, and what the prompt tells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from heatbath.engine import generate, measure
from heatbath.errors import BadInput
from heatbath.models import MarkovModel, Model, ScoreChunk, Session, TableModel, Vocabulary
from heatbath.models.base import AttentionModel, Tokens
from heatbath.trust.signals import Evidence, SampledAnswer, compute_signals
from heatbath.trust.signals.attention import rauq_uncertainty
from heatbath.trust.signals.entailment import EntailmentScorer

from .evidence_cases import random_answer


class ReplySession(Session):
    """A session on prompts that compare two answers; the next token is y or n."""

    def __init__(self, model: ReplyModel, prompts: Sequence[Tokens]) -> None:
        self._model, self._prompts = model, prompts

    @property
    def tokens(self) -> Sequence[Tokens]:
        return self._prompts

    def energies(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        energies = np.full((len(self._prompts), 256), 5.0)
        for row, prompt in enumerate(self._prompts):
            energies[row, ord("n")] = self._model.bias
            energies[row, ord("y")] = -2.0 if self._model.says_yes(self._model.decode(prompt)) else 0.0
        return energies + np.arange(len(energies))[:, None]

    def push(self, tokens: Sequence[int]) -> None:
        raise AssertionError("one token is enough")

    def fork(self, indices: Sequence[int]) -> None:
        raise AssertionError("nothing is drawn")


class ReplyModel(Model):
    """A model on bytes, biased to say yes, that takes words with the same first letter to mean the same."""

    bias = 3.0

    def __init__(self) -> None:
        self.name, self.context_length, self.prompts = "reply", None, 0
        self.vocabulary = Vocabulary(256)

    @property
    def fingerprint(self) -> str:
        return "sha256:reply"

    def open(self, prompts: Sequence[Tokens]) -> Session:
        self.prompts += len(prompts)
        return ReplySession(self, prompts)

    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        raise AssertionError("nothing is scored")

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return list(text.strip().encode() if len(text) < 5 else text.encode())

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])

    @staticmethod
    def says_yes(prompt: str) -> bool:
        answers = {line.partition(". ")[0]: line.partition(". ")[2] for line in prompt.splitlines() if ". " in line}
        first, second = prompt.splitlines()[-1].removesuffix(":").split(" and ")
        return answers[first][0] == answers[second][0]


def test_entailment_compares_energies_in_both_directions() -> None:
    model = ReplyModel()
    texts = ["large", "little", "big", "bulky", "Large"]
    samples = [SampledAnswer(text, -3.0, (i,)) for i, text in enumerate(texts)]
    found = compute_signals(Evidence(samples=samples, model=model, prompt_tokens=model.encode("How large is it?")))
    assert found["cluster_count_entailment"].value == 2
    assert found["cluster_mass_entailment"].value == 0.6
    shares = np.asarray([0.6, 0.4])
    assert found["semantic_entropy_counts_entailment"].value == pytest.approx(-(shares * np.log(shares)).sum())
    # Six pairs of four different texts, three of them empty; the two that pass are tried back.
    assert model.prompts == 6 + 3 + 2 + 2
    without = compute_signals(Evidence(samples=samples))
    assert without["cluster_count_entailment"].reason == "there is no model to score entailment with"


def test_entailment_is_calibrated_by_an_empty_answer() -> None:
    scorer = EntailmentScorer(ReplyModel(), "How large is it?", ["large", "long", "big"])
    assert scorer.score_pairs([(0, 1), (0, 2)]).tolist() == [2.0, 0.0]
    assert scorer.score_pairs([]).tolist() == []
    with pytest.raises(BadInput, match="must begin with different tokens of reply"):
        EntailmentScorer(ReplyModel(), "", ["a"], words=(" yes", " yep"))


class AttentiveModel(MarkovModel):
    """A Markov chain with attention weights made up from a seed."""

    def attentions(self, tokens: Tokens) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        weights = np.tril(np.random.default_rng(len(tokens)).random((6, 2, len(tokens), len(tokens))))
        return np.asarray(weights / weights.sum(-1, keepdims=True))


def test_attention_based_uncertainty_equals_its_recurrence() -> None:
    chain = MarkovModel.random(2, 6)
    model = AttentiveModel(chain._table[:-1], chain._table[-1])
    assert isinstance(model, AttentionModel) and not isinstance(chain, AttentionModel)
    prompt, tokens = [1, 2, 0], [3, 5, 4, 1]
    trace = measure(model, [*prompt, *tokens]).take(slice(3, None))
    found = compute_signals(Evidence(trace=trace, model=model, prompt_tokens=prompt), ["rauq", "rauq@1", "rauq@1.5"])
    weights, p = model.attentions([*prompt, *tokens]), np.exp(trace.logprob(1.0))
    layers = []
    for layer in (2, 3):
        rows = weights[layer][:, [4, 5, 6], [3, 4, 5]]
        attention = rows[rows.mean(1).argmax()]
        c = [p[0]]
        for t in range(1, 4):
            c.append(0.2 * p[t] + 0.8 * attention[t - 1] * c[-1])
        layers.append(-np.log(c).mean())
    assert found["rauq"].value == pytest.approx(max(layers))
    assert found["rauq@1"].value == pytest.approx(-trace.logprob(1.0).mean())
    assert found["rauq@1.5"].reason == "the share of a token's own probability is 1.5, above 1"


def test_attention_of_one_token_of_probability_zero_and_of_no_attention() -> None:
    none = np.zeros((3, 2, 0))
    assert rauq_uncertainty(np.asarray([0.5]), none) == pytest.approx(math.log(2))
    assert rauq_uncertainty(np.asarray([0.0]), none) == math.inf
    trace = random_answer(1).trace()
    assert compute_signals(Evidence(trace=trace, model=MarkovModel.random(1, 9)), ["rauq"])["rauq"].reason == (
        "markov gives no attention weights to follow the attention of"
    )
    assert compute_signals(Evidence(trace=trace), ["rauq"])["rauq"].status == "none"


def test_pointwise_information_is_a_ratio_of_probabilities() -> None:
    model = TableModel.random(5, 4, 5)
    prompt, answer = [1, 3], [2, 0, 1]
    trace = measure(model, [*prompt, *answer]).take(slice(2, None))
    value = compute_signals(Evidence(trace=trace, model=model), ["pointwise_information"])["pointwise_information"]
    # Without a start token the first token has no probability of its own.
    alone = measure(model, answer).logprob(1.0)[1:].sum()
    assert value.value == pytest.approx(trace.logprob(1.0)[1:].sum() - alone)
    assert value.status == "exact"


def test_predictive_information_is_zero_for_a_constant_rate() -> None:
    chain = MarkovModel.random(3, 8)
    rows = np.asarray([chain._table[0]] * 8)
    trace = measure(MarkovModel(rows), [0, 4, 2, 6, 1])
    found = compute_signals(Evidence(prompt=trace), ["predictive_information"])["predictive_information"]
    assert found.value == pytest.approx(0.0, abs=1e-12) and found.status == "exact"
    varied = generate(chain, [[]], max_tokens=9, seed=1).traces[0]
    entropy = varied.record["entropy"]
    value = compute_signals(Evidence(prompt=varied), ["predictive_information"])["predictive_information"].value
    assert value == pytest.approx((entropy - entropy[4:].mean()).sum())
    cool = generate(chain, [[]], max_tokens=9, seed=1, temperature=0.7).traces[0]
    bounded = compute_signals(Evidence(prompt=cool), ["predictive_information"])["predictive_information"]
    truth = [row["entropy"] for row in measure(chain, cool.tokens.tolist()).to_rows()]
    assert bounded.status == "bounded" and bounded.lower <= bounded.value <= bounded.upper and len(truth) == 9
