"""Signals from top-k lists: intervals that hold the exact value, and shrink to it with the list."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput, NotANumber
from heatbath.trust.signals import Evidence, compute_signals

from .evidence_cases import AGGREGATES, Answer, random_answer

WITHOUT_LIST = {"log_z", "spilled_energy", "entropy@0.7"}


def list_evidence(answer: Answer, k: int) -> Evidence:
    size = answer.energies.shape[1]
    return Evidence(top_logprobs=answer.top(k), token_logprobs=answer.token_logprobs, vocab_size=size)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.0, 0.3, 2.0, 8.0]), st.sampled_from([12, 30]))
def test_intervals_hold_the_exact_value(seed: int, k: int, scale: float, size: int) -> None:
    answer = random_answer(seed, length=3, size=size, scale=scale)
    directs = answer.token_signals()
    names = [f"{name}:{each}" for name in directs for each in ("mean", "max")]
    found = compute_signals(list_evidence(answer, k), names)
    for name, direct in directs.items():
        for each in ("mean", "max"):
            value = found[f"{name}:{each}"]
            if name in WITHOUT_LIST:
                assert value.status == "none" and value.reason
                continue
            truth = AGGREGATES[each](direct)
            slack = 1e-8 * (1.0 + abs(truth))
            assert value.lower - slack <= truth <= value.upper + slack, (name, k, value, truth)


@given(st.integers(0, 2**32 - 1))
def test_the_interval_of_a_whole_list_is_the_value(seed: int) -> None:
    answer = random_answer(seed, size=12)
    directs = answer.token_signals()
    found = compute_signals(list_evidence(answer, 12), [f"{name}:mean" for name in directs])
    for name, direct in directs.items():
        if name not in WITHOUT_LIST:
            value = found[f"{name}:mean"]
            assert value.upper - value.lower < 1e-5, name
            assert value.value == pytest.approx(direct.mean(), abs=1e-5)


def test_longer_lists_give_narrower_intervals() -> None:
    answer = random_answer(1, size=50)
    for name in ("entropy", "heat_capacity", "renyi_entropy", "margin", "mode_count", "mode_mass"):
        widths = []
        for k in (1, 2, 5, 20, 50):
            value = compute_signals(list_evidence(answer, k), [name])[name]
            widths.append(value.upper - value.lower)
        assert all(b <= a + 1e-9 for a, b in pairwise(widths)), (name, widths)


def test_decision_tokens_of_a_list_are_uncertain() -> None:
    answer = random_answer(2, length=10, size=30)
    found = compute_signals(list_evidence(answer, 5), ["logprob:decision", "entropy:decision"])
    direct = answer.token_signals()
    chosen = np.argsort(-direct["entropy"])[:2]
    for name in ("logprob", "entropy"):
        value = found[f"{name}:decision"]
        assert value.lower <= direct[name][chosen].mean() <= value.upper


def test_infinite_ends_say_so() -> None:
    answer = random_answer(4, size=30)
    value = compute_signals(list_evidence(answer, 5), ["self_certainty"])["self_certainty"]
    assert value.status == "bounded" and value.upper == math.inf and math.isfinite(value.value)


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (Evidence(top_logprobs=[[-0.1]]), "`top_logprobs` needs `vocab_size`"),
        (Evidence(top_logprobs=[[-0.1], [-0.1, -2.0]], vocab_size=9), "equally many tokens at each position"),
        (Evidence(top_logprobs=[[-0.1]], token_logprobs=[0.0, 0.0], vocab_size=9), "for each of the 1 lists, got 2"),
        (Evidence(top_logprobs=[[-0.1] * 3], vocab_size=2), "from 1 to all 2 states"),
        (Evidence(top_logprobs=[[-0.1] * 3], vocab_size=9), "above 1"),
        (Evidence(trace="text"), "`trace` must be a `Trace`, got 'text'"),  # type: ignore[arg-type]
    ],
)
def test_lists_that_cannot_be_are_one_sentence(evidence: Evidence, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compute_signals(evidence, ["entropy"])


def test_nan_in_a_list() -> None:
    with pytest.raises(NotANumber, match="NaN"):
        compute_signals(Evidence(top_logprobs=[[math.nan, -1.0]], vocab_size=5), ["entropy"])
    missing = compute_signals(Evidence(top_logprobs=np.empty((0, 3)), vocab_size=5), ["entropy", "length"])
    assert missing["entropy"].reason == "the answer has no tokens" and missing["length"].value == 0
