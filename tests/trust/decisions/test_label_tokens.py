"""Label probabilities equal enumeration, whatever the tokens of the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.models.session_scoring import SessionScorer
from heatbath.trust.decisions.label_tokens import LabelTokens, encode_labels

LENGTH = 5
SYMBOLS = [b"a", b"b", b"ab"]
MODELS = [
    TableModel(
        lambda prefix, seed=seed: np.random.default_rng((seed, *prefix, 9)).normal(0, 2, 3).tolist(),
        LENGTH,
        symbols=SYMBOLS,
    )
    for seed in range(3)
]
LABELS = st.text("ab", min_size=1, max_size=3)


def enumerate_labels(model: TableModel, prompt: Sequence[int], labels: LabelTokens) -> list[float]:
    """The probability that a completion of the prompt begins with each label and with no longer sequence of any."""
    start, total = tuple(prompt), 0.0
    found = [0.0] * len(labels.sequences)
    for sequence, logprob in zip(model.sequences(), model.logprobs(), strict=True):
        if sequence[: len(start)] != start:
            continue
        total += math.exp(logprob)
        rest = sequence[len(start) :]
        begun = [(len(s), label) for label, each in enumerate(labels.sequences) for s in each if rest[: len(s)] == s]
        if begun:
            found[max(begun)[1]] += math.exp(logprob)
    return [each / total for each in found]


@given(
    labels=st.lists(LABELS, min_size=1, max_size=5, unique=True),
    prompt=st.lists(st.integers(0, 2), max_size=2),
    model=st.sampled_from(MODELS),
    way=st.sampled_from(["canonical", "all"]),
)
def test_label_probabilities_equal_enumeration(
    labels: list[str], prompt: list[int], model: TableModel, way: str
) -> None:
    tokens = encode_labels(model, labels, way)  # type: ignore[arg-type]
    scores = SessionScorer(model).score([prompt], tokens.tree).logprobs
    found = np.exp(tokens.label_logprobs(scores))[0]
    assert found == pytest.approx(enumerate_labels(model, prompt, tokens), abs=1e-12)
    assert found.sum() <= 1 + 1e-12


@given(labels=st.lists(LABELS, min_size=1, max_size=5, unique=True))
def test_all_tokenizations_are_the_sequences_with_the_bytes_of_a_label(labels: list[str]) -> None:
    tokens = encode_labels(MODELS[0], labels, "all")
    for label, sequences in zip(labels, tokens.sequences, strict=True):
        assert {b"".join(SYMBOLS[token] for token in each) for each in sequences} == {label.encode()}
        assert len(set(sequences)) == len(sequences) == 2 ** label.count("ab")
        assert sequences[0] == tuple(MODELS[0].encode(label))


def test_a_label_that_a_longer_one_begins_with_keeps_what_is_left() -> None:
    tokens = LabelTokens((((0,),), ((0, 1),), ((0, 1, 1),)))
    found = np.exp(tokens.label_logprobs(np.log([[0.6, 0.3, 0.1]])))[0]
    assert found == pytest.approx([0.3, 0.2, 0.1])


def test_improbable_labels_keep_their_odds() -> None:
    """Probabilities that are 0 in floating point still have a ratio."""
    tokens = LabelTokens((((0,),), ((1,),), ((0, 1),)))
    found = tokens.label_logprobs(np.array([[-2000.0, -2001.0, -np.inf]]))[0]
    assert found[1] - found[0] == pytest.approx(-1.0)
    assert found[2] == -np.inf


def test_labels_of_one_form_are_refused() -> None:
    class Folding(TableModel):
        def encode(self, text: str, *, document_start: bool = True) -> list[int]:
            return [0]

    folding = Folding(lambda prefix: [0.0, 0.0], 1, symbols=[b"a", b"b"])
    with pytest.raises(BadInput, match="'a' and 'A' have the same tokens"):
        encode_labels(folding, ["a", "A"])


def test_too_many_tokenizations_are_refused() -> None:
    with pytest.raises(BadInput, match="more than 256 tokenizations"):
        encode_labels(MODELS[0], ["ab" * 10], "all")
    assert len(encode_labels(MODELS[0], ["ab" * 10]).sequences[0]) == 1
