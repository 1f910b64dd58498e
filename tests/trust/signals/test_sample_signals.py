"""Signals of several samples: clusters, their entropies and free energies, agreement and products."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput, NotANumber
from heatbath.models import TableModel
from heatbath.trust.signals import Evidence, SampledAnswer, compute_signals
from heatbath.trust.signals.clusters import group_texts, normalize_sample

from .evidence_cases import random_answer

SYMBOLS = [b" yes", b" Yes!", b" no", b"."]


def draw_samples(model: TableModel, count: int, seed: int) -> list[SampledAnswer]:
    sequences, logprobs = model.sequences(), model.logprobs()
    drawn = np.random.default_rng(seed).choice(len(sequences), count, p=np.exp(logprobs))
    return [SampledAnswer(model.decode(sequences[i]), float(logprobs[i]), sequences[i]) for i in drawn]


def meaning_masses(model: TableModel) -> Counter[str]:
    masses: Counter[str] = Counter()
    for sequence, logprob in zip(model.sequences(), model.logprobs(), strict=True):
        masses[normalize_sample(model.decode(sequence))] += math.exp(logprob)  # type: ignore[assignment]
    return masses


def test_semantic_entropies_of_many_samples_are_those_of_an_enumeration() -> None:
    """2,000 samples: the plug-in entropy is within five standard errors (0.02) and its bias, (9 - 1) / 4,000."""
    model = TableModel.random(3, 4, 2, scale=1.5)
    model.symbols = tuple(SYMBOLS)
    masses = np.asarray(list(meaning_masses(model).values()))
    exact = -(masses * np.log(masses)).sum()
    found = compute_signals(Evidence(samples=draw_samples(model, 2000, 1)))
    assert found["semantic_entropy_unique"].value == pytest.approx(exact, abs=1e-3)
    assert found["semantic_entropy_counts"].value == pytest.approx(exact, abs=0.1)
    assert found["semantic_entropy_monte_carlo"].value == pytest.approx(exact, abs=0.1)
    assert found["cluster_count"].value == len(masses)
    assert found["cluster_mass"].value == pytest.approx(masses.max(), abs=0.05)
    assert found["agreement"].value == pytest.approx((masses**2).sum(), abs=0.05)
    free = found["semantic_free_energy_unique"]
    assert free.lower - 1e-9 <= -math.log(masses.max()) <= free.upper + 1e-9


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_no_probability_is_above_one_and_the_free_energy_is_bounded(seed: int, count: int) -> None:
    model = TableModel.random(seed, 4, 2, scale=3.0)
    model.symbols = tuple(SYMBOLS)
    samples = draw_samples(model, count, seed)
    masses = meaning_masses(model)
    for sample in samples[:3]:
        found = compute_signals(Evidence(samples=samples, text=sample.text))
        free = found["semantic_free_energy_unique"]
        truth = -math.log(masses[normalize_sample(sample.text)])
        assert 0.0 <= free.lower <= truth + 1e-9 and truth <= free.upper + 1e-9
        for name in ("semantic_entropy_counts", "semantic_entropy_monte_carlo", "semantic_entropy_unique"):
            assert found[name].value >= 0.0
        assert found["semantic_free_energy_counts"].value >= 0.0
        assert 0.0 < found["answer_frequency"].value <= 1.0
        assert found["semantic_entropy_counts"].value <= math.log(len(samples)) + 1e-9


def test_a_sequence_drawn_twice_counts_once() -> None:
    samples = [SampledAnswer("Paris", math.log(0.6), (1,))] * 5 + [SampledAnswer("Rome", math.log(0.3), (2,))]
    found = compute_signals(Evidence(samples=samples, text="paris."))
    assert found["semantic_entropy_monte_carlo"].value == pytest.approx(-(5 * math.log(0.6) + math.log(0.3)) / 6)
    free = found["semantic_free_energy_unique"]
    assert (free.lower, free.upper) == pytest.approx((-math.log(0.7), -math.log(0.6)))
    assert found["answer_frequency"].value == pytest.approx(5 / 6)
    assert found["agreement"].value == pytest.approx(20 / 30)
    other = compute_signals(Evidence(samples=samples, text="Bern"))
    assert other["answer_frequency"].value == 0.0 and other["semantic_free_energy_counts"].value == math.inf
    assert other["semantic_free_energy_unique"].upper == math.inf
    assert other["semantic_free_energy_unique"].lower == pytest.approx(-math.log1p(-0.9))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The Paris.", "paris", True),
        ("1,000", "1000", True),
        ("1.5", "15", False),
        ("-3", "3", False),
        ("it is -3.", "It is −3", True),
        ("yes!", "Yes", True),
        ("New York", "new   york", True),
        ("ﬁve", "five", True),
        ("10-12", "1012", False),
        ("", "...", True),
    ],
)
def test_texts_that_are_equal_after_normalization(one: str, other: str, same: bool) -> None:
    assert (normalize_sample(one) == normalize_sample(other)) is same


def embed_by_first_letter(texts: Sequence[str]) -> Any:
    return np.asarray([np.eye(26)[ord(text.strip().lower()[0]) - 97] * (1 + len(text)) for text in texts])


def test_clusters_by_embedding() -> None:
    samples = [SampledAnswer(text, -2.0, (i,)) for i, text in enumerate(["apple", "Avocado", "banana", "apricot"])]
    found = compute_signals(Evidence(samples=samples, text="almond", embed=embed_by_first_letter))
    assert found["cluster_count_embedding"].value == 2
    assert found["cluster_mass_embedding"].value == 0.75
    assert found["semantic_free_energy_counts_embedding"].value == pytest.approx(-math.log(0.75))
    assert found["cluster_count"].value == 4
    without = compute_signals(Evidence(samples=samples))
    assert without["cluster_count_embedding"].reason == "there is no `embed` to compare texts with"
    with pytest.raises(NotANumber, match="`embed` gave NaN"):
        compute_signals(Evidence(samples=samples, embed=lambda texts: np.full((len(texts), 2), np.nan)))
    with pytest.raises(BadInput, match="one vector for each of 4 texts"):
        compute_signals(Evidence(samples=samples, embed=lambda texts: np.zeros((1, 2))))


def test_products_with_agreement() -> None:
    answer = random_answer(1)
    samples = [SampledAnswer(answer.trace().text)] * 3 + [SampledAnswer("other")]
    found = compute_signals(answer.evidence(samples=samples, embed=embed_by_digit))
    direct = answer.token_signals()
    assert found["cocoa_msp"].value == pytest.approx(-direct["logprob"].sum() / 4)
    assert found["cocoa_ppl"].value == pytest.approx(-direct["logprob"].mean() / 4)
    assert found["cocoa_mte"].value == pytest.approx(direct["entropy"].mean() / 4)
    assert found["cocoa_mte_embedding"].value == pytest.approx(direct["entropy"].mean() / 4)
    assert found["semantic_entropy_unique"].reason == "the log-probabilities of the samples are not known"
    cool = compute_signals(answer.evidence(0.7, samples=samples), ["cocoa_msp"])["cocoa_msp"]
    assert cool.lower <= -direct["logprob"].sum() / 4 <= cool.upper


def embed_by_digit(texts: Sequence[str]) -> Any:
    return np.asarray([[1.0, 0.0] if text[0].isdigit() else [0.0, 1.0] for text in texts])


@given(st.integers(1, 8), st.data())
def test_groups_are_led_by_their_first_text(count: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    groups = group_texts(count, lambda i, j: values[i] == values[j])
    assert [values.index(value) for value in values] == [groups.index(group) for group in groups]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([SampledAnswer("a", 0.5)], "log-probability of a sample must be at most 0, got 0.5"),
        (["a"], "`samples` must hold `SampledAnswer` objects, got str"),
        (
            [SampledAnswer("a", math.log(0.9), (1,)), SampledAnswer("b", math.log(0.8), (2,))],
            "add up to 1.7, above 1: give the log-probability of each whole sequence",
        ),
    ],
)
def test_samples_that_cannot_be_are_one_sentence(samples: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compute_signals(Evidence(samples=samples), ["semantic_entropy_unique"])


def test_samples_of_probability_zero_and_one() -> None:
    certain = compute_signals(Evidence(samples=[SampledAnswer("a", 0.0)] * 3))
    assert certain["semantic_entropy_unique"].value == certain["semantic_entropy_monte_carlo"].value == 0.0
    assert certain["semantic_free_energy_unique"].upper == 0.0
    never = compute_signals(Evidence(samples=[SampledAnswer("a", -math.inf)]))
    assert never["semantic_entropy_unique"].reason == "all samples have probability 0"
    assert never["semantic_entropy_monte_carlo"].value == math.inf
    assert never["agreement"].reason == "agreement needs at least 2 samples, got 1"
