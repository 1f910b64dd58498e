"""Selection among all continuations: expected weights stay, each is kept once, and the law of a run is right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_paths import Chance, assert_proper

import heatbath as hb
from heatbath.bench import power
from heatbath.decode import SMC, AdaptiveRejection, Ancestral, Target, Window
from heatbath.decode.continuations import Selection, select_candidates
from heatbath.decode.windows import Band
from heatbath.energy import ForbiddenTokens, LogitBias, Potential
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.testing import check_sequence_sampler

DIE = TableModel.random(5, 3, 2, stop_token_ids=(2,), scale=1.2)
TREE = TableModel.random(8, 3, 3, stop_token_ids=(2,), scale=1.0)


class Costs(Potential):
    """A cost of every token, and one of ending; `barred` is forbidden."""

    name, scores_prefixes = "costs", True

    def __init__(self, barred=None):
        self.barred = barred

    def __call__(self, context):
        rows = range(len(context))
        return np.asarray([self.of(tuple(context.completion(row)), context.is_finished(row)) for row in rows])

    def of(self, answer, whole):
        cost = sum((0.9, -0.6, 0.4)[token] * (t + 1) for t, token in enumerate(answer)) + 0.7 * whole
        return np.inf if answer == self.barred and whole else cost


def near(seen, uniform):
    """Up to 1.1 nats above the ground state."""
    return Band(np.full(len(seen.ground), -np.inf), seen.ground + 1.1, np.ones(len(seen.ground)))


BIAS = LogitBias({0: 0.8, 1: -0.3})
TARGETS = {
    "power": Target(power=2.5),
    "flat": Target(power=0.0),
    "cold": Target(temperature=0.7, power=3.0, fields=BIAS),
    "fields": Target(fields=[BIAS, ForbiddenTokens([0])], temperature=0.8),
    "potential": Target(potentials=Costs(), power=1.5),
    "barred": Target(potentials=Costs((0, 0))),
    "window": Target(power=1.5, window=Window("near", near), fields=BIAS, potentials=Costs()),
}


SLOW = pytest.mark.slow
CASES = [(name, particles) for particles in (1, 2) for name in TARGETS]
CASES += [("power", 4), *(pytest.param(name, 4, marks=SLOW) for name in TARGETS if name != "power")]


@pytest.mark.parametrize(("name", "particles"), CASES)
def test_the_mean_weight_of_selected_continuations_is_the_partition_function(name, particles):
    for model in (DIE, TREE):
        assert_proper(SMC(TARGETS[name], particles, 1, resampling="optimal"), TARGETS[name], model)


def test_replicates_select_by_themselves():
    assert_proper(SMC(TARGETS["potential"], 2, 2, resampling="optimal"), TARGETS["potential"], DIE)


def test_a_selected_continuation_that_keeps_its_own_weight_is_seen(monkeypatch):
    def biased(log_weights, count, choose):
        chosen = select_candidates(log_weights, count, choose)
        return Selection(chosen.candidates, log_weights[chosen.candidates])

    monkeypatch.setattr("heatbath.decode.selection_step.select_candidates", biased)
    with pytest.raises(AssertionError):
        assert_proper(SMC(TARGETS["power"], 2, 1, resampling="optimal"), TARGETS["power"], TREE)


@given(st.lists(st.one_of(st.just(-np.inf), st.floats(-40, 5)), min_size=1, max_size=7), st.integers(1, 4))
def test_every_candidate_keeps_its_expected_weight(logs, count):
    log_weights = np.asarray(logs)
    mean, script = np.zeros(len(logs)), []
    while script is not None:
        chance = Chance(script)
        chosen = select_candidates(log_weights, count, chance.choose_index)
        assert len(chosen.candidates) <= count and len(set(chosen.candidates.tolist())) == len(chosen.candidates)
        mean[chosen.candidates] += chance.probability * np.exp(chosen.log_weights)
        script = chance.following()
    assert mean == pytest.approx(np.exp(log_weights), rel=1e-9, abs=1e-12 * np.exp(log_weights).sum())


def test_heavy_candidates_are_always_kept():
    log_weights = np.log(np.asarray([0.6, 0.001, 0.3, 0.05, 0.049]))
    rng = np.random.default_rng(0)
    for _ in range(20):
        chosen = select_candidates(log_weights, 3, lambda p: int(rng.choice(len(p), p=p)))
        weights = dict(zip(chosen.candidates.tolist(), np.exp(chosen.log_weights).tolist(), strict=True))
        assert weights[0] == pytest.approx(0.6) and weights[2] == pytest.approx(0.3) and len(weights) == 3
        assert min(weights.values()) == pytest.approx(0.1)


def test_as_many_particles_as_sequences_give_the_exact_answer():
    model = TableModel.random(11, 3, 4, stop_token_ids=(2,), scale=1.2)
    out = hb.generate(model, [[]], sampler="smc", resampling="optimal", particles=40, alpha=2.0, max_tokens=4)
    assert out.log_z == pytest.approx(np.logaddexp.reduce(2 * model.logprobs()), abs=1e-12)
    # Each prefix is evaluated once, in each of the four replicates.
    prefixes = {sequence[: t + 1] for sequence in model.sequences() for t in range(len(sequence))}
    assert out.tokens_spent == 4 * len(prefixes)


@pytest.mark.parametrize("name", ["power", "potential"])
def test_selected_continuations_follow_their_target(name):
    model = TableModel.random(13, 5, 4, stop_token_ids=(4, 2), scale=2.0)
    target = Target(power=2.5) if name == "power" else Target(0.9, 1.5, LogitBias({0: 0.7}), Costs5())
    check_sequence_sampler(SMC(target, 24, 8, resampling="optimal"), model, target=target, runs=20)


class Costs5(Potential):
    """A cost of the length, at the end alone."""

    name = "length"

    def __call__(self, context):
        return np.asarray([0.5 * abs(len(context.completion(row)) - 2) for row in range(len(context))])


def test_a_power_takes_fewer_tokens_than_with_copies():
    """The bound is far from the figures, about a quarter: a run has 15 populations."""
    model = power.build_chain(0)
    exact = power.compute_moments(model, 4.0, 32)
    copies, selected = (
        power.compute_cost(model, SMC(Target(power=4.0), 32, 15, resampling=scheme), exact, 15)
        for scheme in ("systematic", "optimal")
    )
    assert selected < 0.6 * copies


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ladder": 2}, "does not work with a ladder"),
        ({"pinned_sequence": (1, 2)}, "does not work with a pinned sequence"),
        ({"target": Target(proposal=Ancestral(0.7))}, "leave out `proposal`"),
        ({"target": Target(proposal=AdaptiveRejection())}, "leave out `proposal`"),
        ({"resampling": "optimum"}, "did you mean 'optimal'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_enumerated_are_refused(options, words):
    with pytest.raises(BadInput, match=words):
        SMC(**{"resampling": "optimal", **options})
