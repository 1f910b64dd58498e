"""Signals of one trace: against their definitions, the gauge, batches, and the ends of what can be asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatbath.engine import generate, measure
from heatbath.errors import BadInput, NotANumber
from heatbath.models import MarkovModel, TableModel
from heatbath.record import NODE_COLUMNS, Record
from heatbath.trust.signals import SIGNALS, Evidence, compute_signal_columns, compute_signals

from .evidence_cases import AGGREGATES, Answer, build_trace, random_answer

ONE_TRACE = SIGNALS.list_names(without=("samples", "prompt", "model"), aggregations=True)
seeds = st.integers(0, 2**32 - 1)


def check_aggregates(answer: Answer, evidence: Evidence) -> None:
    """Every aggregate of every signal lies within its interval, and is its value where that is exact."""
    directs = answer.token_signals()
    wanted = {name: [each for each in SIGNALS.find(name).spec.aggregations if each in AGGREGATES] for name in directs}
    found = compute_signals(evidence, [f"{name}:{each}" for name in wanted for each in wanted[name]])
    for name, direct in directs.items():
        for each in wanted[name]:
            value, truth = found[f"{name}:{each}"], AGGREGATES[each](direct)
            assert value.status != "none", (name, each, value)
            slack = 1e-9 * (1.0 + abs(truth))
            assert value.lower - slack <= truth <= value.upper + slack, (name, each, value, truth)
            assert value.lower - slack <= value.value <= value.upper + slack
            if value.status == "exact":
                assert value.value == pytest.approx(truth, abs=1e-9)


@settings(max_examples=15)
@given(seeds, st.integers(2, 6), st.sampled_from([3, 9, 40]), st.sampled_from([0.1, 1.0, 5.0]))
def test_signals_of_a_trace_at_one_equal_their_definitions(seed: int, length: int, size: int, scale: float) -> None:
    answer = random_answer(seed, length=length, size=size, scale=scale)
    check_aggregates(answer, answer.evidence())


@settings(max_examples=15)
@given(seeds, st.sampled_from([0.15, 0.7, 1.6, 2.9, math.inf, 0.0]))
def test_signals_at_one_of_a_trace_at_another_temperature_are_intervals(seed: int, temperature: float) -> None:
    answer = random_answer(seed)
    check_aggregates(answer, answer.evidence(temperature))


def test_most_signals_are_exact_at_the_temperature_of_the_trace() -> None:
    found = compute_signals(random_answer(1).evidence())
    inexact = {name.split("@")[0].split(":")[0] for name, value in found.items() if value.status == "bounded"}
    assert inexact == {"renyi_entropy", "margin", "mode_count", "mode_mass"}
    nodes = compute_signals(random_answer(1).evidence(0.7), ["logprob:mean", "entropy@own", "logprob@own"])
    assert nodes["logprob:mean"].status == "bounded"
    assert nodes["logprob:mean"].upper - nodes["logprob:mean"].lower < 1e-2
    assert nodes["entropy@own"].status == nodes["logprob@own"].status == "exact"


@settings(max_examples=10)
@given(seeds, st.lists(st.floats(-50, 50), min_size=5, max_size=5), st.sampled_from([1.0, 0.7]))
def test_a_constant_for_each_context_moves_gauge_dependent_signals_alone(
    seed: int, offsets: list[float], temperature: float
) -> None:
    answer = random_answer(seed)
    before = compute_signals(answer.evidence(temperature), ONE_TRACE)
    after = compute_signals(answer.shift(offsets).evidence(temperature), ONE_TRACE)
    for name in ONE_TRACE:
        if SIGNALS.find(name).spec.is_gauge_invariant:
            assert after[name].value == pytest.approx(before[name].value, abs=1e-6), name


def test_log_z_and_spilled_energy_depend_on_the_gauge() -> None:
    answer, offsets = random_answer(3), [5.0, -2.0, 7.0, 1.0, -4.0]
    names = ["log_z:mean", "spilled_energy:mean", "log_z:max"]
    before, after = (compute_signals(each.evidence(), names) for each in (answer, answer.shift(offsets)))
    assert after["log_z:mean"].value == pytest.approx(before["log_z:mean"].value - np.mean(offsets))
    assert all(abs(after[name].value - before[name].value) > 0.1 for name in names)
    assert {spec.name for spec in SIGNALS.values() if not spec.is_gauge_invariant} == {"log_z", "spilled_energy"}


@given(seeds)
def test_spilled_energies_add_up_to_the_likelihood_and_two_ends(seed: int) -> None:
    answer = random_answer(seed, length=6)
    trace = answer.trace()
    spilled = compute_signals(Evidence(trace=trace), ["spilled_energy:sum"])["spilled_energy:sum"].value
    log_z = trace.record["log_z"]
    assert spilled == pytest.approx(-trace.logprob(1.0)[:-1].sum() + log_z[-1] - log_z[0], abs=1e-9)


def test_decision_tokens_are_those_of_high_entropy_or_those_given() -> None:
    answer = random_answer(5, length=12)
    direct = answer.token_signals()
    chosen = np.argsort(-direct["entropy"], kind="stable")[:3]
    found = compute_signals(answer.evidence(), ["logprob:decision", "entropy:decision"])
    assert found["logprob:decision"].value == pytest.approx(direct["logprob"][chosen].mean())
    assert found["entropy:decision"].value == pytest.approx(direct["entropy"][chosen].mean())
    mask = np.arange(12) == 4
    given_mask = compute_signals(answer.evidence(decision_mask=mask), ["logprob:decision"])
    assert given_mask["logprob:decision"].value == pytest.approx(direct["logprob"][4])
    with pytest.raises(BadInput, match="12 tokens, got shape"):
        compute_signals(answer.evidence(decision_mask=mask[:3]))


def test_many_answers_at_once_are_as_one_by_one() -> None:
    evidences = [random_answer(i, length=1 + i % 4).evidence([1.0, 0.7][i % 2]) for i in range(8)]
    evidences.insert(3, Evidence(trace=random_answer(9).trace().take(slice(0, 0))))
    evidences.append(Evidence(trace=random_answer(10).trace(nodes=False)))
    evidences.append(Evidence(top_logprobs=random_answer(11).top(4), vocab_size=9))
    columns = compute_signal_columns(evidences, ONE_TRACE)
    for row, evidence in enumerate(evidences):
        for name, value in compute_signals(evidence, ONE_TRACE).items():
            other = columns[name][row]
            assert (other.status, other.reason) == (value.status, value.reason), name
            assert other.value == pytest.approx(value.value, rel=1e-12, nan_ok=True)


def test_signals_of_a_generation_are_those_of_the_model() -> None:
    model = TableModel.random(4, 5, 4, stop_token_ids=(0,))
    run = generate(model, [[]], n=6, max_tokens=4, seed=2)
    columns = compute_signal_columns([Evidence(trace=trace) for trace in run.traces], ["logprob", "length"])
    exact = dict(zip(model.sequences(), model.logprobs(), strict=True))
    for row, tokens in enumerate(run.sequences):
        assert columns["logprob"][row].value == pytest.approx(exact[tuple(tokens)])
        assert columns["length"][row].value == len(tokens)


def test_tokens_without_a_context_do_not_count() -> None:
    model = MarkovModel.random(1, 6)
    trace = measure(model, [0, 3, 2, 5])
    found = compute_signals(Evidence(trace=trace), ["length", "logprob:sum", "spilled_energy:sum"])
    assert found["length"].value == 3
    assert found["logprob:sum"].value == pytest.approx(np.nansum(trace.logprob(1.0)))
    assert found["spilled_energy:sum"].status == "exact"


def test_an_answer_without_tokens_and_one_of_a_single_token() -> None:
    empty = compute_signals(Evidence(trace=random_answer(0).trace().take(slice(0, 0))))
    assert empty.pop("length").value == 0
    assert {value.status for value in empty.values()} == {"none"}
    assert empty["entropy@1:mean"].reason == "the answer has no tokens"
    single = compute_signals(random_answer(0, length=1).evidence(), ONE_TRACE)
    for name, value in single.items():
        assert (value.status == "none") == name.startswith("spilled_energy"), name
    assert single["spilled_energy@1:mean"].reason == "the answer has too few tokens"
    nothing = compute_signals(Evidence())
    assert {value.status for value in nothing.values()} == {"none"}
    assert all(value.reason for value in nothing.values())


def test_a_forbidden_token_has_infinite_surprisal_and_finite_dispersion() -> None:
    answer = random_answer(7)
    energies = answer.energies.copy()
    energies[2, answer.tokens[2]] = np.inf
    found = compute_signals(Answer(energies, answer.tokens).evidence(), ONE_TRACE)
    assert found["logprob@1:sum"].value == found["logprob@1:min"].value == -math.inf
    assert found["logprob@1:sum"].status == "exact"
    assert found["excess_energy:max"].value == math.inf
    assert all(math.isfinite(found[name].value) for name in ("entropy@1:mean", "self_certainty:mean", "log_z@1:mean"))
    cool = compute_signals(Answer(energies, answer.tokens).evidence(0.7), ["logprob", "spilled_energy:max"])
    assert cool["logprob"].value == -math.inf and cool["spilled_energy:max"].value == math.inf


def test_what_a_trace_does_not_hold_is_said_in_words() -> None:
    state = Evidence(trace=random_answer(2).trace(0.7, nodes=False))
    found = compute_signals(state, ["logprob", "logprob@own", "self_certainty", "renyi_entropy"])
    assert found["logprob"].reason == "the trace was kept at T = 0.7 without nodes, so that T = 1 is not known"
    assert found["logprob@own"].status == "exact"
    assert found["self_certainty"].reason == "the trace lacks the mean energy over the vocabulary"
    assert found["renyi_entropy"].status == "none"
    beyond = compute_signals(random_answer(2).evidence(), ["logprob@0", "entropy@5", "renyi_entropy@20", "log_z@0"])
    assert {value.status for value in beyond.values()} == {"none"}
    assert "T = 5 is outside" in beyond["entropy@5"].reason
    frozen = compute_signals(random_answer(2).evidence(0.0), ["log_z@own", "entropy@own", "logprob"])
    assert frozen["log_z@own"].reason == "log Z at T = 0 is infinite"
    assert frozen["entropy@own"].value == 0.0 and frozen["logprob"].status == "bounded"
    melted = compute_signals(random_answer(2).evidence(math.inf), ["entropy@own", "logprob@own:mean"])
    assert melted["entropy@own"].value == pytest.approx(math.log(9))
    assert melted["logprob@own:mean"].value == pytest.approx(-math.log(9))


def test_a_trace_with_nodes_alone() -> None:
    answer = random_answer(6)
    full = answer.trace().record
    record = Record({name: full[name] for name in ("energy", "ground", *NODE_COLUMNS)})
    found = compute_signals(
        Evidence(trace=build_trace(record, answer.tokens)), ["logprob", "entropy", "logprob@own", "margin"]
    )
    direct = answer.token_signals()
    assert found["logprob"].lower <= direct["logprob"].sum() <= found["logprob"].upper
    assert found["logprob@own"].reason == "the trace has no temperature of its own"
    assert found["margin"].lower <= direct["margin"].mean() <= found["margin"].upper


def test_nan_is_one_sentence() -> None:
    trace = random_answer(8).trace()
    entropy = trace.record["entropy"].copy()
    entropy[3] = np.nan
    broken = build_trace(trace.record.with_columns({"entropy": entropy}), trace.tokens)
    with pytest.raises(NotANumber, match="answer 1 holds NaN in `entropy` at its token 3: measure"):
        compute_signal_columns([Evidence(trace=trace), Evidence(trace=broken)], ["logprob"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("entropie", "there is no signal 'entropie' .did you mean 'entropy'?"),
        ("entropy:median", "the aggregation of entropy must be one of: mean, max"),
        ("length:sum", "the aggregation of length must be one of: none"),
        ("margin@2", "the signal margin takes no parameter"),
        ("logprob@-1", "temperature of logprob must be a number of 0 or greater or own, got '-1'"),
        ("renyi_entropy@own", "order of renyi_entropy must be a number of 0 or greater, got 'own'"),
    ],
)
def test_unknown_names_are_one_sentence(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compute_signals(random_answer(0).evidence(), [name])


def test_names_are_complete_and_found_again() -> None:
    for name in SIGNALS.list_names(aggregations=True):
        assert SIGNALS.find(name).name == name
    assert SIGNALS.find("logprob", aggregation="mean").name == "logprob@1:mean"
    assert SIGNALS.find("length", aggregation="mean").name == "length"
    means = compute_signals(random_answer(0).evidence(), ["logprob"], aggregation="mean")
    assert means["logprob"].value == pytest.approx(random_answer(0).token_signals()["logprob"].mean())
    with pytest.raises(BadInput, match="put it in a list"):
        compute_signals(random_answer(0).evidence(), "logprob")
