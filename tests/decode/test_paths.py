"""Every random path of small runs, walked with its exact probability: no seed, no tolerance but rounding.

What is checked is the whole law of a run: the mean weight is Z, weighted means are means of the target, transition
matrices keep it.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from random_paths import assert_proper, branches, ends, key, merged
from scipy.special import logsumexp

from heatbath.decode import (
    SMC,
    Ancestral,
    Anneal,
    Lookahead,
    Metropolis,
    Target,
    Task,
    Tempering,
    Window,
    metropolis_kernel,
)
from heatbath.decode.metropolis_kernel import advance_chains
from heatbath.decode.sequences import evaluate, evaluate_step
from heatbath.decode.windows import Band
from heatbath.energy import ForbiddenTokens, LogitBias, Potential
from heatbath.estimate.resample import SCHEMES
from heatbath.models import TableModel
from heatbath.models.exact.base import log_probabilities
from heatbath.testing.sequence_sampler import log_masses

COIN = TableModel.random(3, 2, 3, stop_token_ids=(1,), scale=1.0)
SHORT = TableModel.random(1, 2, 2, stop_token_ids=(1,), scale=1.0)
DIE = TableModel.random(5, 3, 2, stop_token_ids=(2,), scale=1.2)
BIT = TableModel.random(6, 2, 1, stop_token_ids=(1,), scale=1.0)
WORD = TableModel.random(2, 3, 1, stop_token_ids=(2,), scale=1.0)
TREE = TableModel.random(8, 3, 3, stop_token_ids=(2,), scale=1.0)


@dataclass(frozen=True)
class Costs(Potential):
    """A number for every answer that looks at all of its tokens, and at whether it is whole."""

    name: str = "costs"
    scores_prefixes: bool = True
    bar: tuple[int, ...] = (9,)

    def __call__(self, context):
        return np.asarray(
            [self.of(tuple(context.completion(row)), context.is_finished(row)) for row in range(len(context))]
        )

    def of(self, answer, whole):
        if whole and answer == self.bar:
            return np.inf
        return sum((0.9, -0.6, 0.4)[token] * (t + 1) for t, token in enumerate(answer)) + 0.7 * whole


def near(seen, uniform):
    """Up to 1.1 nats above the ground state."""
    return Band(np.full(len(seen.ground), -np.inf), seen.ground + 1.1, np.ones(len(seen.ground)))


KEPT = Window("near", near)
AFTER, ALONG = Costs("after", False), Costs("along")
BIAS = LogitBias({0: 0.8, 1: -0.3})
TARGETS = {
    "power": Target(power=2.5),
    "flat": Target(power=0.0),
    "half": Target(power=0.5, temperature=1.4),
    "cold": Target(temperature=0.7, power=3.0, fields=BIAS),
    "fields": Target(fields=[BIAS, ForbiddenTokens([0])], temperature=0.8),
    "along": Target(potentials=ALONG, power=1.5),
    "after": Target(potentials=[AFTER, 0.5 * ALONG]),
    "barred": Target(potentials=Costs("barred", False, (0, 0))),
    "twice": Target(fields=[ForbiddenTokens([0]), ForbiddenTokens([0])], proposal=Ancestral()),
    "proposal": Target(power=2.0, fields=BIAS, proposal=Ancestral(1.7)),
    "tilted": Target(power=2.0, potentials=ALONG, proposal=Ancestral(0.6, fields=LogitBias({0: 0.5}))),
    "window": Target(power=1.5, window=KEPT, fields=BIAS, potentials=ALONG),
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_mean_weight_of_a_population_is_the_partition_function(name):
    model = DIE if name in ("window", "fields") else COIN
    assert_proper(SMC(TARGETS[name], particles=2, replicates=1, threshold=0.8), TARGETS[name], model)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_way_of_resampling_keeps_the_mean(scheme, threshold):
    particles, model = (3, SHORT) if scheme == "multinomial" else (2, DIE)
    target = TARGETS["along"]
    assert_proper(SMC(target, particles, 1, scheme, threshold), target, model)


@pytest.mark.parametrize("ladder", [1, 2, 5])
def test_a_ladder_of_powers_changes_the_way_and_not_the_end(ladder):
    for name in ("along", "cold"):
        assert_proper(SMC(TARGETS[name], 2, 1, threshold=1.0, ladder=ladder), TARGETS[name], COIN)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_replicates_are_populations_of_their_own(threshold):
    target = TARGETS["tilted"]
    assert_proper(SMC(target, particles=2, replicates=2, threshold=threshold), target, SHORT)


PINNED = ["power", "along", "tilted", "fields", "barred"]


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        *((name, 0.6) for name in PINNED),
        *(
            pytest.param(name, threshold, marks=() if name == "along" else pytest.mark.slow)
            for name in PINNED
            for threshold in (0.0, 1.0)
        ),
    ],
)
def test_an_exact_draw_kept_in_the_population_bounds_from_above(name, threshold):
    """E[1 / Z-hat] = P(alive) / Z over exact draws that are pinned, so by Jensen E[log Z-hat] is at least log Z.

    P(alive) is that of a population without a pinned answer, one but for targets that forbid answers.
    """
    target, model = TARGETS[name], DIE if name == "fields" else COIN
    free = ends(SMC(target, particles=2, replicates=1, resampling="multinomial", threshold=threshold), model)
    alive = sum(probability for probability, state in free if state is not None)
    assert (alive < 1 - 1e-6) == (name == "barred")
    masses = log_masses(target, model)
    log_z, inverse, upper = logsumexp(masses), 0.0, 0.0
    for answer, mass in zip(model.sequences(), masses, strict=True):
        if mass == -np.inf:
            continue
        sampler = SMC(target, particles=2, replicates=1, threshold=threshold, pinned_sequence=answer)
        for probability, state in ends(sampler, model):
            samples = state.samples()
            assert samples.sequences[0] == list(answer)
            inverse += np.exp(mass - log_z) * probability * np.exp(-samples.log_z.value)
            upper += np.exp(mass - log_z) * probability * samples.log_z.value
    assert inverse == pytest.approx(alive * np.exp(-log_z), rel=1e-10)
    assert upper >= log_z


def test_a_single_particle_that_is_pinned_weighs_what_it_is_worth():
    target, answer = Target(power=2.0, proposal=Ancestral()), (0, 0, 1)
    ((_, state),) = ends(SMC(target, 1, 1, pinned_sequence=answer), COIN)[:1]
    number = COIN.sequences().index(answer)
    assert state.samples().log_z.value == pytest.approx(log_masses(target, COIN)[number] - COIN.logprobs()[number])


@pytest.mark.parametrize("name", ["power", "along", "after", "barred", "cold", "proposal"])
@pytest.mark.parametrize("ladder", [1, [0.0, 0.3, 1.0]])
def test_the_mean_weight_of_an_annealed_answer_is_the_partition_function(name, ladder):
    assert_proper(Anneal(TARGETS[name], particles=1, ladder=ladder), TARGETS[name], SHORT)


def test_annealing_in_three_rungs_and_in_two_sweeps():
    assert_proper(Anneal(TARGETS["along"], particles=1, ladder=3), TARGETS["along"], WORD)
    assert_proper(Anneal(TARGETS["along"], particles=1, ladder=1, sweeps=2), TARGETS["along"], SHORT)


@pytest.mark.parametrize("threshold", [0.0, 0.8, 1.0])
@pytest.mark.parametrize(
    ("ladder", "model"),
    [([0.0, 0.4, 1.0], BIT), pytest.param(1, SHORT, marks=pytest.mark.slow)],
    ids=["bit", "short"],
)
def test_an_annealed_population_may_be_resampled(threshold, ladder, model):
    target = TARGETS["along"]
    assert_proper(Anneal(target, particles=2, ladder=ladder, threshold=threshold), target, model)


LOOKS = [
    {"candidates": 2, "rollouts": 1, "block": 1, "horizon": 1},
    {"candidates": 2, "rollouts": 2, "block": 1, "horizon": 2},
    {"candidates": 2, "rollouts": 2, "block": 2, "horizon": 1},
    {"candidates": 2, "rollouts": 2, "block": 1, "horizon": 1, "jackknife": False},
    {"candidates": 1, "rollouts": 3, "block": 1, "horizon": 2},
]


@pytest.mark.parametrize("options", LOOKS, ids=str)
def test_the_mean_weight_of_an_answer_chosen_by_looking_ahead_is_the_partition_function(options):
    for name in ("along", "barred", "cold"):
        model = SHORT if options["rollouts"] > 1 else COIN
        assert_proper(Lookahead(TARGETS[name], n=1, **options), TARGETS[name], model)


def transitions(sampler, model, target):
    """The transition matrix between answers of one sweep, its law and the states it was walked from."""
    task = Task(model, [[]], model.tree.length, model.vocabulary.stop_token_ids)
    law = np.exp(log_masses(target, model) - logsumexp(log_masses(target, model)))
    starts = begun(lambda rng, at: evaluate_step(sampler, rng, at)[0], sampler.init(task))
    number = {key(answer_of(state)): n for n, state in enumerate(starts)}
    matrix = np.zeros((len(starts), len(starts)))
    for row, state in enumerate(starts):
        for probability, after in swept(lambda rng, at: evaluate_step(sampler, rng, at)[0], state):
            matrix[row, number[key(answer_of(after))]] += probability
    assert matrix.sum(1) == pytest.approx(1, abs=1e-12)
    return matrix, law, starts


def answer_of(state):
    return state.chains.current.buffer.to_sequences()


def begun(act, state):
    """A state for every first answer."""
    return list({key(answer_of(after)): after for _, after in swept(act, state)}.values())


def swept(act, state):
    """(probability, state) after a whole sweep: drafts begun, grown and decided."""
    now, over = [(1.0, state)], []
    while now:
        after = []
        for probability, at in now:
            for chance, following in branches(act, at):
                (over if following.chains.is_idle else after).append((probability * chance, following))
        now = merged(after)
    return over


CHAINS = ["power", "flat", "cold", "fields", "along", "after", "barred", "proposal", "tilted"]


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_answers_keeps_its_law_and_is_in_detailed_balance(name):
    for model in (DIE, COIN) if name != "fields" else (DIE,):
        matrix, law, starts = transitions(Metropolis(TARGETS[name], chains=1, sweeps=9), model, TARGETS[name])
        law = at_answers(law, starts, model)
        flow = law[:, None] * matrix
        assert law @ matrix == pytest.approx(law, abs=1e-12)
        assert flow == pytest.approx(flow.T, abs=1e-12)
        # A forbidden answer is left for an allowed one and never met again.
        allowed = np.flatnonzero(law)
        assert (np.linalg.matrix_power(matrix, 3)[:, allowed] > 0).all()
        assert not matrix[np.ix_(allowed, np.flatnonzero(law == 0))].any()


def at_answers(law, starts, model):
    """The law (n,) in the order of states."""
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    return np.asarray([law[number[tuple(answer_of(state)[0])]] for state in starts])


def test_a_chain_without_the_factor_of_lengths_has_another_law(monkeypatch):
    monkeypatch.setattr(metropolis_kernel, "_draw_acceptances", without_lengths)
    matrix, law, starts = transitions(Metropolis(TARGETS["power"], chains=1, sweeps=9), COIN, TARGETS["power"])
    law = at_answers(law, starts, COIN)
    assert np.abs(law @ matrix - law).max() > 0.01


def without_lengths(chains, rng):
    gain = chains.lambdas * (chains.proposal_rollout.sequences.log_weight - chains.current.log_weight)
    return np.asarray([bool(rng.choose_index(np.array([1 - p, p]))) for p in np.exp(np.minimum(gain, 0.0))])


@pytest.mark.parametrize(
    ("ladder", "model"),
    [([0.0, 1.0], SHORT), ([0.0, 0.4, 1.0], BIT), pytest.param([0.0, 0.4, 1.0], SHORT, marks=pytest.mark.slow)],
    ids=["two", "three", "three-short"],
)
@pytest.mark.parametrize("sweep", [0, 1])
def test_replicas_that_exchange_keep_the_product_of_their_laws(ladder, model, sweep):
    """Exchanges of the even and the odd sweeps, each on top of a move of all chains."""
    target = TARGETS["along"]
    sampler = Tempering(target, chains=1, ladder=ladder, sweeps=9, burn=0.0)
    state = sampler.init(Task(model, [[]], model.tree.length, model.vocabulary.stop_token_ids))
    starts = begun(lambda rng, at: one_move(rng, at), state)
    number = {key(answer_of(start)): n for n, start in enumerate(starts)}
    law, matrix = tempered(target, model, ladder, starts), np.zeros((len(starts), len(starts)))
    for row, start in enumerate(starts):
        start = replace(start, num_finished_sweeps=sweep)
        for probability, after in swept(lambda rng, at: evaluate_step(sampler, rng, at)[0], start):
            matrix[row, number[key(answer_of(after))]] += probability
    assert matrix.sum(1) == pytest.approx(1, abs=1e-12)
    assert law @ matrix == pytest.approx(law, abs=1e-12)
    assert (np.linalg.matrix_power(matrix, 4) > 0).all()


def one_move(rng, state):
    """A first answer for every replica."""
    cuts = np.zeros(state.chains.num_chains, np.int64) if state.chains.is_idle else None
    return replace(state, chains=advance_chains(state.chains, rng, evaluate(state.chains.pending), cuts)[0])


def tempered(target, model, ladder, starts):
    r"""The product over replicas of $q^{1-\lambda} \pi^\lambda$, at the states."""
    pi, q = log_masses(target, model), model.logprobs(1 / target.temperature)
    rungs = [(1 - lam) * q + lam * pi for lam in ladder]
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    logs = [
        sum(rung[number[tuple(answer)]] for rung, answer in zip(rungs, answer_of(state), strict=True))
        for state in starts
    ]
    return np.exp(logs - logsumexp(logs))


def published(model, power):
    """The transition matrix of the published code: what has ended early never grows again, and no ratio knows of it.

    Proposals are capped at the present length, log-probabilities of the present answer are cut to the proposal's
    length, and the cut is uniform over the present length.
    """
    sequences, laws = model.sequences(), {}
    for prefix in {sequence[:t] for sequence in sequences for t in range(len(sequence))}:
        laws[prefix] = log_probabilities(model.open([list(prefix)]).energies()[0], 1.0)
    number = {sequence: n for n, sequence in enumerate(sequences)}
    matrix = np.zeros((len(sequences), len(sequences)))
    for now in sequences:
        for cut in range(len(now)):
            for draft, log_q in _regrown(now[:cut], len(now), laws, model.vocabulary.stop_token_ids):
                kept = now[: len(draft)]
                change = (power - 1) * (_logprob(draft, cut, laws) - _logprob(kept, cut, laws))
                p = np.exp(log_q + min(change, 0.0)) / len(now)
                # An answer that was capped is one of those of its length, were it not for the cap.
                matrix[number[now], number.get(draft, number[now])] += p
                matrix[number[now], number[now]] += np.exp(log_q) / len(now) - p
    return matrix


def _logprob(answer, start, laws):
    return sum(laws[answer[:t]][answer[t]] for t in range(start, len(answer)))


def _regrown(prefix, length, laws, stop):
    """(answer, log-probability) of every continuation up to `length` tokens."""
    if len(prefix) == length or (prefix and prefix[-1] in stop):
        return [(prefix, 0.0)]
    return [
        (answer, logprob + laws[prefix][token])
        for token in range(len(laws[prefix]))
        for answer, logprob in _regrown((*prefix, token), length, laws, stop)
    ]


def test_the_published_chain_does_not_keep_the_law_it_is_meant_for():
    """The negative control: lengths only ever shrink, and the law of answers runs away from its target."""
    model, power = TREE, 2.0
    matrix = published(model, power)
    masses = log_masses(Target(power=power), model)
    law = np.exp(masses - logsumexp(masses))
    assert matrix.sum(1) == pytest.approx(1, abs=1e-12)
    assert np.abs(law @ matrix - law).max() > 0.01
    start = np.exp(model.logprobs())
    distances = [0.5 * np.abs(start @ np.linalg.matrix_power(matrix, n) - law).sum() for n in (0, 10, 100)]
    assert distances[2] > distances[0]
    lengths = np.asarray(list(map(len, model.sequences())))
    assert not any(matrix[np.ix_(lengths == short, lengths > short)].any() for short in set(lengths.tolist()))
