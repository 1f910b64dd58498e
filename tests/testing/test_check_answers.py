"""The suite for samplers of whole answers fails broken ones, one sabotage per clause."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.decode import SMC, Ancestral, BestOf, RowRandom, SequenceSampler, Target, Task, evaluate_step
from heatbath.energy import ForbiddenTokens, LogitBias, Potential
from heatbath.estimate.estimate import Estimate
from heatbath.models import TableModel
from heatbath.testing import check_sequence_sampler
from heatbath.testing.sequence_sampler import (
    WeightTally,
    check_distance,
    check_log_z,
    check_means,
    check_numbers,
    log_masses,
)

TREE = TableModel.random(61, 3, 3, stop_token_ids=(2,))
RUNS = 16


@dataclass(frozen=True)
class Changed(SequenceSampler):
    """The answers of an inner sampler, with `change` made to what it says of them."""

    change: object
    inner: SequenceSampler = field(default_factory=lambda: BestOf(100, Ancestral()))

    def init(self, task):
        return _Lying(self.inner.init(task), self.change)

    def pending(self, state):
        return self.inner.pending(state.inner)

    def step(self, rng, state, energies):
        inner, move = self.inner.step(rng, state.inner, energies)
        return replace(state, inner=inner), move


@dataclass(frozen=True)
class _Lying:
    inner: object
    change: object

    num_slots = property(lambda self: self.inner.num_slots)
    num_streams = property(lambda self: self.inner.num_streams)
    is_finished = property(lambda self: self.inner.is_finished)

    def samples(self):
        return self.change(self.inner.collect_samples())


def test_right_samplers_pass():
    check_sequence_sampler(BestOf(100, Ancestral()), TREE, runs=RUNS)
    check_sequence_sampler(Ancestral(), TREE, runs=400)
    check_sequence_sampler(Changed(lambda samples: samples), TREE, target=TREE.logprobs() + 3.0, runs=RUNS)
    target = Target(power=2.0, fields=LogitBias({0: 0.5}))
    check_sequence_sampler(SMC(target, particles=16), TREE, target=target, runs=RUNS)


LIES = {
    "said to have ended": lambda samples: replace(samples, finish_reasons=("interrupted", *samples.finish_reasons[1:])),
    "the moves of a run do not lead": lambda samples: replace(samples, slots=samples.slots[::-1]),
    "give one for each": lambda samples: replace(samples, log_weight=samples.log_weight[1:]),
    "NaN": lambda samples: replace(samples, log_weight=samples.log_weight * np.nan),
    "the value is answer": lambda samples: replace(samples, value=100),
    "an answer of weight 0": lambda samples: replace(
        samples, log_weight=np.where(np.arange(100) == samples.selected_index, -np.inf, 0.0)
    ),
    "tokens spent": lambda samples: replace(samples, tokens_spent=0),
    "log-probabilities of answers are off": lambda samples: replace(samples, logprob=np.zeros(100)),
    "standard errors|floor": lambda samples: replace(
        samples, log_weight=0.6 * np.asarray(list(map(len, samples.sequences)))
    ),
}


@pytest.mark.parametrize("said", LIES)
def test_a_lie_is_told_by_its_clause(said):
    with pytest.raises(AssertionError, match=said):
        check_sequence_sampler(Changed(LIES[said]), TREE, target=Target(), runs=RUNS)


@pytest.mark.parametrize(
    ("answer", "finish", "said"),
    [([0], "length", "is not whole"), ([2, 0, 0], "length", "goes on after"), ([2], "length", "said to have ended")],
)
def test_an_answer_must_be_whole(answer, finish, said):
    samples = _drawn()
    check_numbers(samples, TREE)
    with pytest.raises(AssertionError, match=said):
        check_numbers(
            replace(
                samples,
                sequences=[answer, *samples.sequences[1:]],
                finish_reasons=(finish, *samples.finish_reasons[1:]),
            ),
            TREE,
        )


def _drawn():
    sampler = BestOf(4, Ancestral())
    state, rng = sampler.init(Task(TREE, [[]], 3, (2,))), RowRandom(0, 4)
    while not state.is_finished:
        state, _ = evaluate_step(sampler, rng, state)
    return state.samples()


def test_swapped_answers_of_equal_energy_are_seen_by_distance():
    weights = np.tile([60.0, 40.0], (20, 1)) + np.random.default_rng(0).normal(0, 1, (20, 2))
    check_distance(WeightTally(weights, 10_000), np.array([0.6, 0.4]))
    with pytest.raises(AssertionError, match="above its floor"):
        check_distance(WeightTally(weights, 10_000), np.array([0.4, 0.6]))


def test_weight_on_forbidden_answers_is_seen():
    with pytest.raises(AssertionError, match="forbids has weight"):
        check_means(WeightTally(np.ones((20, 2)), 20), {}, np.array([1.0, 0.0]), 1e-5)


@dataclass(frozen=True)
class _Said:
    log_weight: np.ndarray
    log_z: Estimate


def said(off, stderr, weighed=True):
    return [_Said(np.full(4, value if weighed else 0.0), Estimate(value, stderr, 4.0)) for value in off]


def test_partition_functions_and_their_errors_are_tested():
    off = np.random.default_rng(1).normal(-0.005, 0.1, 100)
    check_log_z(said(off, 0.1), 0.0, 1e-5)
    check_log_z(said(off, 0.1, weighed=False), 0.0, 1e-5)
    check_log_z(said(off, float("nan")), 0.0, 1e-5)
    for stderr, wrong in ((0.01, "larger"), (0.5, "smaller")):
        with pytest.raises(AssertionError, match=f"{wrong} than what is stated"):
            check_log_z(said(off, stderr), 0.0, 1e-5)
    with pytest.raises(AssertionError, match="partition function"):
        check_log_z(said(off + 0.08, 0.1), 0.0, 1e-5)


class Cost(Potential):
    name = "cost"

    def __call__(self, context):
        return np.asarray([0.3 * len(context.completion(row)) for row in range(len(context))])


def test_masses_are_those_of_the_formula():
    """p_T^alpha exp(-sum of fields / T) exp(-potential), written out for one answer."""
    target = Target(
        temperature=0.8, power=1.5, fields=LogitBias({0: 0.7}) + ForbiddenTokens([1]), potentials=2.0 * Cost()
    )
    masses = dict(zip(TREE.sequences(), log_masses(target, TREE), strict=True))
    logprob = dict(zip(TREE.sequences(), TREE.logprobs(1 / 0.8), strict=True))
    assert masses[0, 0, 2] == pytest.approx(1.5 * logprob[0, 0, 2] + 2 * 0.7 / 0.8 - 2 * 0.3 * 2)
    assert masses[0, 0, 0] == pytest.approx(1.5 * logprob[0, 0, 0] + 3 * 0.7 / 0.8 - 2 * 0.3 * 3)
    assert masses[0, 1, 2] == -np.inf
    assert logsumexp(log_masses(Target(temperature=2.0), TREE)) == pytest.approx(0.0, abs=1e-12)


def test_a_field_that_forbids_twice_and_a_window_have_no_mass_where_they_cut():
    twice = Target(fields=[ForbiddenTokens([1]), ForbiddenTokens([1])])
    cut = Target(proposal=Ancestral(fields=ForbiddenTokens([0])))
    for target, gone in ((twice, 1), (cut, 0)):
        for sequence, mass in zip(TREE.sequences(), log_masses(target, TREE), strict=True):
            assert (mass == -np.inf) == (gone in sequence)
