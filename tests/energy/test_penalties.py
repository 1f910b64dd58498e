"""Penalties against transformers' processors and the formulas of others, on random logits."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heatbath.energy import Context, ForbiddenTokens, LogitBias
from heatbath.energy.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from heatbath.errors import BadInput
from heatbath.testing import check_field

V = 11
rows = st.lists(st.integers(0, V - 1), min_size=1, max_size=12)


def energies(seed=0, batch=1):
    return np.random.default_rng(seed).normal(scale=4, size=(batch, V))


@given(tokens=rows, penalty=st.floats(0.3, 3), seed=st.integers(0, 99), start=st.integers(0, 12))
def test_repetition_is_that_of_transformers(tokens, penalty, seed, start):
    from transformers import RepetitionPenaltyLogitsProcessor

    before = energies(seed).astype(np.float32)
    context = Context([tokens], [min(start, len(tokens))], V, energies=before)
    found = before + RepetitionPenalty(penalty)(context)
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    expected = -processor(torch.tensor([tokens]), torch.tensor(-before)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


@given(
    tokens=rows,
    start=st.integers(0, 12),
    last_n=st.integers(1, 14),
    strengths=st.tuples(st.floats(0.3, 3), st.floats(-2, 2), st.floats(-2, 2)),
    seed=st.integers(0, 99),
)
def test_together_they_are_the_penalties_of_llama_cpp(tokens, start, last_n, strengths, seed):
    """Over the last n tokens, prompt included: a logit above 0 is divided by the repeat penalty, another multiplied by
    it; then the count times the frequency penalty is taken off, and the presence penalty once."""
    repeat, frequency, presence = strengths
    logits = -energies(seed)[0]
    expected = logits.copy()
    for token, count in Counter(tokens[-last_n:]).items():
        expected[token] = expected[token] / repeat if expected[token] > 0 else expected[token] * repeat
        expected[token] -= count * frequency + presence
    total = (
        RepetitionPenalty(repeat, last_n=last_n)
        + FrequencyPenalty(frequency, last_n=last_n, prompt=True)
        + PresencePenalty(presence, last_n=last_n, prompt=True)
    )
    context = Context([tokens], [min(start, len(tokens))], V, energies=-logits[None])
    assert np.allclose(logits - total(context)[0], expected, atol=1e-5)


def test_presence_and_frequency_count_the_answer_alone():
    context = Context([[1, 1, 2, 3, 2, 2]], [2], 5)
    assert PresencePenalty(0.5)(context).tolist() == [[0, 0, 0.5, 0.5, 0]]
    assert FrequencyPenalty(0.5)(context).tolist() == [[0, 0, 1.5, 0.5, 0]]
    assert FrequencyPenalty(-1.0, last_n=2, prompt=True)(context).tolist() == [[0, 0, -2, 0, 0]]
    assert RepetitionPenalty(2.0, prompt=False)(
        Context([[1, 1, 2]], [2], 5, energies=np.array([[1.0, -4, -6, 2, 0]]))
    ).tolist() == [[0, 0, 3, 0, 0]]


def test_repetition_leaves_what_is_forbidden_forbidden_in_either_library():
    before = energies()
    before[0, 2] = np.inf
    for given_ in (before, torch.tensor(before), torch.tensor(before, dtype=torch.bfloat16)):
        found = RepetitionPenalty(1.3)(Context([[2, 3]], [0], V, energies=given_))
        assert found[0, 2] == 0 and found[0, 3] != 0 and np.isfinite(found).all()


def test_repetition_reads_what_the_fields_before_it_made():
    before = energies()
    context = Context([[4]], [0], V, energies=before)
    alone = RepetitionPenalty(2.0)
    biased = LogitBias({4: 20.0})
    after = (biased + alone)(context)[0, 4]
    logit = -before[0, 4] + 20
    assert logit > 0 and after == pytest.approx(-20 + logit / 2)
    assert not (biased + alone).commutes and (biased + ForbiddenTokens([1])).commutes
    assert (alone + biased)(context)[0, 4] != pytest.approx(after)


@pytest.mark.parametrize(
    "field",
    [
        RepetitionPenalty(1.2),
        RepetitionPenalty(0.8, last_n=2, prompt=False),
        PresencePenalty(0.7),
        FrequencyPenalty(0.2, last_n=3, prompt=True),
    ],
)
def test_contract(field):
    check_field(field)


def test_ended_rows_are_left_alone():
    context = Context([[1], [1]], [0, 0], V, finished_mask=[True, False], energies=energies(batch=2))
    for field in (RepetitionPenalty(2.0), PresencePenalty(1.0)):
        found = field(context)
        assert not found[0].any() and found[1, 1] != 0


def test_bad_penalties():
    for penalty in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(BadInput, match="`penalty` of field 'repetition' must be positive"):
            RepetitionPenalty(penalty)
    for penalty in (np.inf, np.nan):
        with pytest.raises(BadInput, match="`penalty` of field 'frequency' must be finite"):
            FrequencyPenalty(penalty)
    with pytest.raises(BadInput, match="`last_n` of field 'presence' must be .*, got 0"):
        PresencePenalty(1.0, last_n=0)
    with pytest.raises(BadInput, match="the context has none"):
        RepetitionPenalty(1.5)(Context([[1]], [0], V))
