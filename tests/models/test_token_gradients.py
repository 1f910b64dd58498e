"""Token gradients against gradients by position, teacher-forced energies and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from heatbath.errors import BadInput

Tiny = Callable[[str], Any]
TEXTS = [[256, 40, 41, 42, 43, 44], [256, 90, 91, 42, 93, 94]]
LENGTH = 3


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_gradient_is_the_sum_of_gradients_by_position(family: str, tiny: Tiny) -> None:
    model = tiny(family)
    found = model.token_gradients(TEXTS, LENGTH).embedding_gradient
    for row, text in enumerate(TEXTS):
        each = sum(model.gradient(text, position=p) for p in range(len(text) - LENGTH, len(text)))
        torch.testing.assert_close(found[row], each[-LENGTH:], atol=1e-4, rtol=1e-4)
    assert found.abs().max() > 1e-2
    assert found[:, -1].abs().max() == 0


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_logprobs_are_those_of_teacher_forced_energies(beta: float, tiny: Tiny) -> None:
    model = tiny("gemma2")
    found = model.token_gradients(TEXTS, LENGTH, beta=beta).logprobs
    for window in model.score(TEXTS):
        for row, position, energies in zip(window.rows, window.positions, window.energies, strict=True):
            place = position - len(TEXTS[0]) + LENGTH
            if place >= 0:
                expected = (-beta * energies.float()).log_softmax(-1)
                torch.testing.assert_close(found[row, place], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_gradient_and_embeddings_predict_a_small_change(family: str, tiny: Tiny) -> None:
    """A step of 1 % from one token's embedding to another's changes log p as the product says."""
    model, text, beta = tiny(family), TEXTS[0], 0.5
    assert model.embeddings.shape == (model.vocabulary.size, 32)
    layer, slope = model.network.module.get_input_embeddings(), model.token_gradients(TEXTS[:1], LENGTH, beta=beta)
    ids, other = torch.tensor([text]), 200
    way = model.embeddings[other] - model.embeddings[text[-2]]

    def logprob(share: float) -> float:
        embeddings = layer(ids).clone()
        embeddings[0, -2] += share * way
        logits = model.network.module(inputs_embeds=embeddings).logits[0, :-1, :259]  # rows with a token
        return float((beta * logits).log_softmax(-1)[range(len(text) - 1), text[1:]][-LENGTH:].double().sum())

    with torch.no_grad():
        found = (logprob(0.01) - logprob(-0.01)) / 0.02
    assert found == pytest.approx(float(slope.embedding_gradient[0, -2] @ way), rel=2e-2, abs=1e-2)


def test_a_last_token_beyond_the_context_is_only_predicted(tiny: Tiny) -> None:
    model = tiny("llama")
    assert model.token_gradients([[1] * (model.context_length + 1)], 2).logprobs.shape == (1, 2, model.vocabulary.size)


@pytest.mark.parametrize(
    ("sequences", "length", "sentence"),
    [
        ([[1, 2], [1, 2, 3]], 1, "one length, got 2 lengths"),
        ([], 1, "one length, got 0 lengths"),
        ([[1, 2]], 2, "the 2 tokens of a sequence, got 2"),
        ([[1, 2]], 0, "the 2 tokens of a sequence, got 0"),
        ([[1, 999]], 1, "999"),
    ],
)
def test_bad_input(sequences: list[list[int]], length: int, sentence: str, tiny: Tiny) -> None:
    with pytest.raises(BadInput, match=sentence):
        tiny("llama").token_gradients(sequences, length)
