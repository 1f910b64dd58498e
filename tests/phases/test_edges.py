"""Edges on a toy model whose freezing can be worked out, and what is said where estimators fail or disagree."""

from __future__ import annotations

import numpy as np
import pytest

from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.models import Vocabulary
from heatbath.models.exact.base import ExactModel, Floats, Ints, parameter_fingerprint
from heatbath.phases import PhaseMap, SweepPlan, sweep
from heatbath.phases.advice import recommend_range
from heatbath.phases.edges import combine_estimators

V = 8


class Stutter(ExactModel):
    """Repeating a token costs -a ln(run + 1): a run breaks for the last time below T = a, again and again above it.

    The chance to leave a run of r is about (V - 1) r^(-a/T), whose sum over r converges only for T < a.
    """

    a = 1.0

    def __init__(self) -> None:
        super().__init__("stutter", Vocabulary(V))

    @property
    def fingerprint(self) -> str:
        return parameter_fingerprint("Stutter", self.a)

    def initial_state(self, rows: int) -> Ints:
        return np.tile([0, 0], (rows, 1))

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        return np.stack([tokens, np.where(tokens == state[:, 0], state[:, 1] + 1, 1)], axis=1)

    def next_energies(self, state: Ints) -> Floats:
        energies = np.zeros((len(state), V))
        energies[np.arange(len(state)), state[:, 0]] = -self.a * np.log1p(state[:, 1])
        return energies


def chart(model: ExactModel, seed: int) -> PhaseMap:
    return sweep(model, plan=SweepPlan(low=0.3, high=2.5, length=128, sequences=640, batch=160, anchors=16, seed=seed))


def test_a_model_that_stutters_freezes_below_its_transition() -> None:
    edge = chart(Stutter(), 0).edge("freeze")
    assert edge.temperature is not None and edge.interval is not None
    # Texts of 128 tokens have not all locked yet just below a, so the edge comes from below and rises with length.
    assert 0.3 < edge.temperature < Stutter.a
    cycles = list(edge.estimators[0].by_size.values())
    assert cycles == sorted(cycles)


@pytest.mark.parametrize("estimator", [0, 1])
def test_one_estimator_is_not_enough(estimator: int) -> None:
    found = EdgeEstimate("a", 0.5, (0.4, 0.6), {32: 0.5, 64: 0.5, 128: 0.5}, True, "holds as the text grows")
    lost = EdgeEstimate("b", None, None, {}, False, "not found at every size")
    edge = combine_estimators("freeze", [found, lost] if estimator else [lost, found])
    assert edge.temperature is None and edge.interval is None
    assert "b: not found" in edge.verdict and "no edge found" in str(edge)


def estimate(name: str, low: float, high: float) -> EdgeEstimate:
    middle = 0.5 * (low + high)
    return EdgeEstimate(name, middle, (low, high), dict.fromkeys((32, 64, 128), middle), True, "holds")


def test_estimators_that_disagree_give_an_interval_without_a_temperature() -> None:
    edge = combine_estimators("melt", [estimate("a", 0.84, 0.97), estimate("b", 1.03, 1.13)])
    assert edge.temperature is None and edge.interval == (0.84, 1.13) and "disagree" in edge.verdict
    assert str(edge).startswith("melt: between T = 0.84 and 1.13")


@pytest.mark.parametrize(("low", "agree"), [(0.96, True), (0.97, True), (0.98, False)])
def test_estimators_agree_if_their_intervals_meet(low: float, agree: bool) -> None:
    edge = combine_estimators("melt", [estimate("a", 0.84, 0.97), estimate("b", low, 1.13)])
    assert (edge.temperature is not None) is agree
    assert ("two estimators agree" in edge.verdict) is agree
    assert edge.temperature is None or 0.84 < edge.temperature < 1.13


def test_the_range_is_clear_of_an_interval_without_a_temperature() -> None:
    freeze = combine_estimators("freeze", [estimate("a", 0.3, 0.5), estimate("b", 0.4, 0.6)])
    melt = combine_estimators("melt", [estimate("a", 0.84, 0.97), estimate("b", 1.03, 1.13)])
    assert recommend_range([freeze, melt]).range == (0.6, 0.84)
