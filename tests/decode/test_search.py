"""BeamState against the whole list of answers; best of n and votes against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.decode import Ancestral, Beam, BestOf, RowRandom, Task, Vote
from heatbath.decode.sequences import evaluate_step
from heatbath.energy import ForbiddenTokens, LogitBias, Potential
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.models.exact.base import log_probabilities

TREE = TableModel.random(51, 4, 4, stop_token_ids=(3,), scale=1.5)


def answered(sampler, model=TREE, seed=0):
    state = sampler.init(Task(model, [[]], model.tree.length, model.vocabulary.stop_token_ids))
    rng = RowRandom(seed, state.num_streams)
    while not state.is_finished:
        state, _ = evaluate_step(sampler, rng, state)
    return state.samples()


def ranked(logprobs, model=TREE):
    """Sequences that are possible, best first, with their scores."""
    order = np.argsort(-logprobs, kind="stable")
    return [(list(model.sequences()[n]), logprobs[n]) for n in order if logprobs[n] > -np.inf]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", [51, 52, 53])
def test_a_wide_beam_finds_the_best_answers_in_order(temperature, seed):
    model = TableModel.random(seed, 4, 4, stop_token_ids=(3,), scale=1.5)
    width = len(model.sequences())
    found = answered(Beam(width, temperature), model)
    best = ranked(model.logprobs(1 / temperature), model)
    assert found.sequences == [answer for answer, _ in best[: len(found.sequences)]]
    assert len(found.sequences) == width and found.selected_index == 0
    assert found.logprob == pytest.approx([logprob for _, logprob in best], abs=1e-9)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_log_probabilities_of_beams_are_exact_and_in_order(width):
    found = answered(Beam(width))
    exact = dict(zip(TREE.sequences(), TREE.logprobs(), strict=True))
    assert found.logprob == pytest.approx([exact[tuple(answer)] for answer in found.sequences], abs=1e-9)
    assert (np.diff(found.logprob) <= 1e-12).all()
    assert len({tuple(answer) for answer in found.sequences}) == len(found.sequences) == width


@given(
    st.integers(0, 10**6),
    st.integers(2, 5),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.01, 1.0, 1e-200]),
    st.sampled_from([0.1, 1.0, 1e6]),
    st.sampled_from([-2.0, 0.0, 0.7, 3.0]),
)
def test_a_beam_of_one_is_greedy(seed, size, length, scale, temperature, penalty):
    """With and without ties, at any temperature and penalty on length, with one or two stop tokens."""
    stop = (size - 1,) if seed % 3 else (0, size - 1)
    model = TableModel.random(seed, size, length, stop_token_ids=stop, scale=scale)
    answer = []
    while len(answer) < length and (not answer or answer[-1] not in stop):
        answer.append(int(np.argmin(model.open([answer]).energies()[0])))
    assert answered(Beam(1, temperature, length_penalty=penalty), model).sequences == [answer]


def test_a_beam_of_one_does_not_end_on_the_second_best_token():
    """The sequence of the stop token alone is more probable than the greedy one; a beam of 4 finds it."""
    model = TableModel.random(seed=0, size=4, length=4, stop_token_ids=(3,))
    assert answered(Beam(1), model).sequences == [[0, 1, 3]]
    assert answered(Beam(4), model).sequences[0] == [3]


def test_a_search_with_fields_scores_by_what_was_steered_and_tells_the_model():
    fields = [LogitBias({0: 1.5}), ForbiddenTokens([1])]

    def rule(prefix):
        return TREE.open([list(prefix)]).energies()[0] + np.array([-1.5, np.inf, 0.0, 0.0])

    tilted = TableModel(rule, TREE.tree.length, stop_token_ids=(3,))
    best = ranked(tilted.logprobs())
    found = answered(Beam(len(best), fields=fields))
    exact = dict(zip(TREE.sequences(), TREE.logprobs(), strict=True))
    assert found.sequences == [answer for answer, _ in best]
    assert found.logprob == pytest.approx([exact[tuple(answer)] for answer in found.sequences], abs=1e-9)


def test_a_penalty_on_length_ranks_by_log_probability_over_its_power():
    found = answered(Beam(len(TREE.sequences()), length_penalty=1.0))
    score = TREE.logprobs() / np.asarray(list(map(len, TREE.sequences())))
    assert found.sequences[:10] == [answer for answer, _ in ranked(score)[:10]]


@pytest.mark.parametrize("penalty", [-50.0, 50.0])
def test_the_largest_penalties_on_length_give_finite_scores(penalty):
    found = answered(Beam(len(TREE.sequences()), length_penalty=penalty))
    score = TREE.logprobs() / np.asarray(list(map(len, TREE.sequences()))) ** penalty
    assert found.sequences[0] == list(TREE.sequences()[int(np.argmax(score))])


@pytest.mark.parametrize("penalty", [-1075.0, 50.1, float("inf"), float("nan")])
def test_a_penalty_on_length_beyond_the_range_of_scores_is_refused(penalty):
    with pytest.raises(BadInput, match=r"`length_penalty` must be from -50 to 50"):
        Beam(length_penalty=penalty)


def test_groups_that_pay_for_what_others_took_go_elsewhere():
    same = answered(Beam(4, groups=2))
    other = answered(Beam(4, groups=2, diversity=50.0))
    halves = [sorted(map(tuple, same.sequences[k::2])) for k in (0, 1)]
    assert len(set(map(tuple, same.sequences))) == 2 and halves[0] == halves[1]
    first = log_probabilities(TREE.open([[]]).energies()[0], 1.0)
    assert len({answer[0] for answer in other.sequences}) > 1 or first.max() > -1e-9
    assert len(set(map(tuple, other.sequences))) == 4


class Count(Potential):
    """The number of tokens other than 0."""

    name = "count"

    def __call__(self, context):
        return np.asarray([sum(token != 0 for token in context.completion(row)) for row in range(len(context))], float)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_n_is_the_one_that_costs_least(seed):
    by_cost, by_model = (answered(BestOf(12, Ancestral(1.3), parts), seed=seed) for parts in (Count(), ()))
    cost = [sum(token not in (0, 3) for token in answer) for answer in by_cost.sequences]
    assert by_cost.selected_index == int(np.argmin(cost)) and by_cost.diagnostics["score"] == min(cost)
    exact = dict(zip(TREE.sequences(), TREE.logprobs(), strict=True))
    rate = [exact[tuple(answer)] / len(answer) for answer in by_model.sequences]
    assert by_model.selected_index == int(np.argmax(rate)) and by_model.sequences == by_cost.sequences
    assert by_model.ess == 12 and not by_model.log_weight.any()


def test_a_vote_is_won_by_the_result_that_came_most_often():
    found = answered(Vote(25, key=len), seed=3)
    lengths = [len(answer) - (answer[-1] == 3) for answer in found.sequences]
    votes = [lengths.count(length) for length in lengths]
    assert votes[found.selected_index] == max(votes) and found.diagnostics["share"] == max(votes) / 25
    assert found.diagnostics["results"] == len(set(lengths))
    assert lengths.index(lengths[found.selected_index]) == found.selected_index


def test_the_share_of_a_vote_is_the_mass_of_the_winning_result():
    """Half of the answers of 2000 within 4.5 standard errors of the exact share (rate 7e-6)."""
    found = answered(Vote(2000, key=len))
    spoken = [len(sequence) - (sequence[-1] == 3) for sequence in TREE.sequences()]
    mass = np.bincount(spoken, np.exp(TREE.logprobs()))
    assert abs(found.diagnostics["share"] - mass.max()) < 4.5 * found.diagnostics["share_stderr"]
