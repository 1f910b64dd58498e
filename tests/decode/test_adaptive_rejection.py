"""Rejection by potentials: the mean weight is Z on every random path, and few sequences are asked about."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_paths import Chance, assert_proper

import heatbath as hb
from heatbath.decode import SMC, AdaptiveRejection, Target, Task, Window, adaptive_rejection
from heatbath.decode.adaptive_rejection import estimate_log_mass
from heatbath.decode.windows import Band
from heatbath.energy import ForbiddenTokens, LogitBias, Potential
from heatbath.energy.base import Context
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.testing import check_sequence_sampler

DIE = TableModel.random(5, 3, 2, stop_token_ids=(2,), scale=1.2)
COIN = TableModel.random(3, 2, 3, stop_token_ids=(1,), scale=1.0)
SHORT = TableModel.random(1, 2, 2, stop_token_ids=(1,), scale=1.0)
FOUR = TableModel.random(9, 4, 2, stop_token_ids=(3,), scale=1.0)


@dataclass(frozen=True)
class Forbids(Potential):
    """+inf for answers that begin with any of `starts` or are any of `wholes`, and a finite cost besides."""

    starts: tuple[tuple[int, ...], ...] = ()
    wholes: tuple[tuple[int, ...], ...] = ()
    cost: float = 0.0
    scores_prefixes: bool = True
    name: str = "forbids"
    asked: list = field(default_factory=list, compare=False)

    def __call__(self, context):
        rows = range(len(context))
        return np.asarray([self.of(tuple(context.completion(row)), context.is_finished(row)) for row in rows])

    def of(self, answer, whole):
        self.asked.append(answer)
        if any(answer[: len(start)] == start for start in self.starts) or (whole and answer in self.wholes):
            return np.inf
        return self.cost * (sum(answer) + whole)


def near(seen, uniform):
    """Up to 1.3 nats above the ground state."""
    return Band(np.full(len(seen.ground), -np.inf), seen.ground + 1.3, np.ones(len(seen.ground)))


TARGETS = {
    "coin": (SHORT, Target(potentials=Forbids(starts=((0, 0),)), power=1.5)),
    "start": (DIE, Target(potentials=Forbids(starts=((0,),)))),
    "dead end": (DIE, Target(potentials=Forbids(wholes=((0, 0), (0, 1), (0,))))),
    "whole": (DIE, Target(potentials=Forbids(wholes=((), (0,)), scores_prefixes=False))),
    "costs": (DIE, Target(potentials=Forbids(starts=((0, 1), (1, 0)), cost=0.4), power=1.5)),
    "several": (FOUR, Target(potentials=[Forbids(starts=((0,), (1,), (3,))), Forbids(starts=((2, 2),), name="b")])),
    "fields": (DIE, Target(0.8, fields=[LogitBias({0: 0.6}), ForbiddenTokens([1])], potentials=Forbids(((0, 0),)))),
    "window": (FOUR, Target(window=Window("near", near), potentials=Forbids(starts=((2,), (0, 1))), power=2.0)),
}


def sampler_of(target, particles=2, threshold=0.8, **options):
    proposal = AdaptiveRejection.for_target(target, **options)
    return SMC(replace(target, window=None, proposal=proposal), particles, 1, threshold=threshold)


SLOW = pytest.mark.slow
OPTIONS = [
    {},
    {"max_rejects": 1},
    *(pytest.param(each, marks=SLOW) for each in ({"accepts": 3}, {"max_rejects": 2, "accepts": 4})),
]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_mean_weight_of_draws_by_rejection_is_the_partition_function(name, options):
    model, target = TARGETS[name]
    assert_proper(sampler_of(target, particles=1, **options), target, model)


@pytest.mark.parametrize("name", ["coin", *(pytest.param(name, marks=SLOW) for name in ("start", "costs", "dead end"))])
def test_a_population_that_draws_by_rejection_may_be_resampled(name):
    model, target = TARGETS[name]
    assert_proper(sampler_of(target, threshold=1.0, max_rejects=2), target, model)


BIASED = {
    "share of accepted draws": lambda shares, free: np.log((free + 1) / (free + len(shares))),
    "what is left": lambda shares, free: shares[-1],
    "draws with replacement": lambda shares, free: -np.log(len(shares)) if free else -np.inf,
    "always one": lambda shares, free: 0.0 if free else -np.inf,
}


@pytest.mark.parametrize("name", BIASED)
def test_a_biased_weight_is_seen(name, monkeypatch):
    monkeypatch.setattr(adaptive_rejection, "estimate_log_mass", BIASED[name])
    model, target = TARGETS["several"]
    with pytest.raises(AssertionError):
        assert_proper(sampler_of(target, particles=1), target, model)


def test_a_second_draw_without_the_first_token_is_seen(monkeypatch):
    """Accepted tokens are put back; without that the number of rejections would depend on the token."""
    draw = adaptive_rejection._TokenDraws.draw_once

    def without(self, rng):
        before = [row.accepts for row in self.rows]
        draw(self, rng)
        for number, (row, count) in enumerate(zip(self.rows, before, strict=True)):
            if row.accepts == 1 and not count and np.isfinite(self._left[number]).sum() > 1:
                self._left[number, self.tokens[number]] = np.inf

    monkeypatch.setattr(adaptive_rejection._TokenDraws, "draw_once", without)
    model, target = TARGETS["start"]
    with pytest.raises(AssertionError):
        assert_proper(sampler_of(target, particles=1), target, model)


def walked_moments(probabilities, allowed, accepts, max_rejects=99):
    """Mean and variance of the estimate of one step, over every path of its draws."""
    model = TableModel({(): (-np.log(probabilities)).tolist()}, 1)
    sampler = AdaptiveRejection(
        potentials=Forbids(starts=tuple((t,) for t, ok in enumerate(allowed) if not ok)),
        accepts=accepts,
        max_rejects=max_rejects,
    )
    script, mean, square, total = [], 0.0, 0.0, 0.0
    while script is not None:
        chance = Chance(script)
        batch = sampler.init(Task(model, [[]], 1))
        _, step = sampler.step(chance, batch, batch.session.energies())
        estimate = float(np.exp(step.log_accepted_mass[0]))
        mean, square = mean + chance.probability * estimate, square + chance.probability * estimate**2
        total += chance.probability
        script = chance.following()
    assert total == pytest.approx(1, abs=1e-12)
    return mean, square - mean**2


@given(
    st.lists(st.tuples(st.floats(-12, 4), st.booleans()), min_size=1, max_size=4),
    st.integers(2, 3),
    st.integers(1, 5),
)
@settings(max_examples=20)
def test_the_estimate_of_a_step_has_the_allowed_probability_as_its_mean(tokens, accepts, max_rejects):
    logs, allowed = np.asarray([log for log, _ in tokens]), np.asarray([ok for _, ok in tokens])
    probabilities = np.exp(logs) / np.exp(logs).sum()
    mean, _ = walked_moments(probabilities, allowed, accepts, max_rejects)
    assert mean == pytest.approx(probabilities[allowed].sum(), rel=1e-9, abs=1e-12)


def test_weights_become_even_as_more_draws_are_accepted():
    probabilities, allowed = np.asarray([0.5, 0.3, 0.2]), np.asarray([False, True, False])
    spread = [walked_moments(probabilities, allowed, accepts)[1] for accepts in (2, 3, 5, 9)]
    assert sorted(spread, reverse=True) == spread and spread[-1] < spread[0] / 3


@given(st.lists(st.floats(-700, 0), max_size=8), st.integers(1, 40))
def test_an_estimate_lies_between_what_is_left_and_one(logs, free):
    shares = [0.0, *sorted(logs, reverse=True)]
    value = estimate_log_mass(shares, free)
    assert shares[-1] - np.log(len(shares)) - 1e-9 <= value <= 1e-9
    assert estimate_log_mass(shares, 2000) == pytest.approx(shares[-1], abs=0.02 + 1e-9)


def test_the_mass_that_is_left_keeps_its_digits():
    """A thousand billion to one against the only allowed token: one minus the sum of the others has no digit left."""
    probabilities = np.asarray([0.75, 0.25, 1e-12])
    mean, _ = walked_moments(probabilities / probabilities.sum(), np.asarray([False, False, True]), 2)
    assert mean == pytest.approx(1e-12, rel=1e-9)


def test_answers_by_rejection_follow_their_target():
    model = TableModel.random(13, 5, 4, stop_token_ids=(4, 2), scale=2.0)
    forbids = Forbids(starts=((0, 1), (1,)), wholes=((3,),), cost=0.3)
    target = Target(power=1.5, fields=LogitBias({0: 0.7}), potentials=forbids)
    proposal = AdaptiveRejection.for_target(target)
    sampler = SMC(replace(target, proposal=proposal), particles=128, replicates=8, threshold=0.7)
    check_sequence_sampler(sampler, model, target=target, runs=20)


def test_few_sequences_are_asked_about_and_each_once():
    """One of a thousand tokens is forbidden: about one question a step, where a mask would need a thousand."""
    asked = []
    forbids = Forbids(starts=((7,),), asked=asked)
    model = hb.MarkovModel.random(seed=0, size=1000)
    out = hb.generate(model, [0], sampler="awrs", potentials=forbids, particles=8, replicates=1, max_tokens=4)
    assert len(out.sequences) == 8 and all(sequence[:1] != [7] for sequence in out.sequences)
    assert 8 * 4 <= len(asked) <= 3 * 8 * 4


def test_the_named_sampler_has_the_target_of_smc():
    options = {"particles": 256, "max_tokens": 2, "potentials": Forbids(starts=((0,),)), "seed": 1}
    by_weight, by_rejection = (hb.generate(DIE, [[]], sampler=name, **options) for name in ("smc", "awrs"))
    error = np.hypot(by_weight.log_z_stderr, by_rejection.log_z_stderr)
    assert abs(by_weight.log_z - by_rejection.log_z) < 4.5 * error
    assert by_rejection.ess > by_weight.ess


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accepts": 1}, "`accepts` must be at least 2, got 1"),
        ({"max_rejects": 0}, "`max_rejects` must be at least 1, got 0"),
        ({"accepts": 2.5}, "`accepts` must be an integer"),
        ({"temperature": 0.0}, "must be positive and finite"),
        ({"chains": 3}, "the awrs sampler knows no 'chains'"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(options, words):
    options = {"potentials": Forbids(), "max_tokens": 2, "sampler": "awrs", **options}
    with pytest.raises(BadInput, match=words):
        hb.generate(DIE, [[]], **options)


def test_a_row_without_an_allowed_token_has_no_weight():
    with pytest.raises(BadInput, match="every particle is forbidden by 'forbids': increase .*max_rejects"):
        hb.generate(DIE, [[]], sampler="awrs", potentials=Forbids(starts=((0,), (1,), ())), max_tokens=2)


def test_a_sequence_cannot_be_pinned():
    sampler = SMC(replace(sampler_of(TARGETS["start"][1]).target), 2, 1, pinned_sequence=(1, 0))
    with pytest.raises(BadInput, match="cannot be pinned"):
        sampler.init(Task(DIE, [[]], 2, (2,)))


def test_potentials_see_whole_sequences_at_the_greatest_length():
    seen = []

    @dataclass(frozen=True)
    class Notes(Potential):
        name: str = "notes"
        scores_prefixes: bool = True

        def __call__(self, context: Context):
            seen.extend((len(context.completion(row)), context.is_finished(row)) for row in range(len(context)))
            return np.zeros(len(context))

    hb.generate(COIN, [[]], sampler="awrs", potentials=Notes(), max_tokens=3, ignore_eos=True, particles=4)
    assert set(seen) >= {(1, False), (2, False), (3, True)} and (3, False) not in seen
