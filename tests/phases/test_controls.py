"""Controls of the edge finders: an urn whose transition is known must be found, a chain that has none must not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from heatbath.models import MarkovModel, UrnModel
from heatbath.phases import AnalysisOptions, PhaseMap, SweepPlan, sweep
from heatbath.phases.critical import Criticality
from heatbath.phases.sampling import draw_batches
from heatbath.phases.temperature_sweep import compute_critical_observables

LADDER = tuple(np.linspace(0.5, 1.8, 14).tolist())
J = 1.0


@cache
def urn(seed: int, sequences: int = 4200) -> Criticality:
    """Critical observables of an urn with T_c = J = 1, far fewer texts than its authors would use."""
    plan = SweepPlan(length=256, sequences=sequences, batch=sequences // 3, temperatures=LADDER, seed=seed)
    *_, samples = draw_batches(UrnModel(J), plan)
    return compute_critical_observables(UrnModel(J), samples, "auto", np.random.default_rng(seed))


def chain(seed: int) -> PhaseMap:
    """A sweep of a random Markov chain of four tokens, energies of unit variance, looked at for all edges."""
    plan = SweepPlan(low=0.2, high=2.0, length=128, sequences=480, batch=120, anchors=12, seed=seed)
    return sweep(MarkovModel.random(seed, 4), plan=plan, analysis=AnalysisOptions(criticality=True))


def covered(found: Criticality) -> bool:
    return found.order.interval is not None and found.order.interval[0] <= J <= found.order.interval[1]


def exponents_follow(found: Criticality) -> float:
    """Mean square of (gamma - (2 J / T - 1)) in bootstrap standard errors, between J and 2 J."""
    theory = 2 * J / found.temperature - 1
    between = (found.temperature > 1.1 * J) & (found.temperature < 1.8 * J)
    return float(np.mean(((found.gamma_flow - theory) / found.gamma_flow_stderr)[between] ** 2))


def test_the_urn_orders_at_its_critical_temperature_and_not_where_its_susceptibility_starts_to_grow() -> None:
    """One urn of the hundred of the slow test, of which ten may miss."""
    found = urn(11)
    assert covered(found) and not found.mixture
    assert found.order.interval is not None and found.order.interval[1] < 1.5 * J


def test_the_growth_exponent_follows_the_known_law_between_J_and_2J() -> None:
    # A mean of some 6 squared z-scores exceeds 3 with probability below 1 %.
    assert exponents_follow(urn(11)) < 3.0


def test_the_law_is_missed_when_the_coupling_is_another() -> None:
    found = urn(11)
    theory = 2 * 1.3 / found.temperature - 1
    between = (found.temperature > 1.1) & (found.temperature < 1.8)
    assert np.mean(((found.gamma_flow - theory) / found.gamma_flow_stderr)[between] ** 2) > 9


def test_growth_between_J_and_2J_is_there_and_is_no_order() -> None:
    found = urn(11)
    growing = found.gamma[:, -1] - 2 * found.gamma_stderr[:, -1] > 0.2
    beyond = found.temperature > 1.3 * J
    assert (growing & beyond).any()
    assert found.order.interval is not None
    assert found.order.interval[1] < found.temperature[growing & beyond].min() + 0.2


def test_a_markov_chain_has_no_edge() -> None:
    """One chain of the hundred of the slow test, of which five may show an edge."""
    assert all(edge.interval is None for edge in chain(0).edges)


@pytest.mark.slow
def test_a_hundred_urns() -> None:
    found = [urn(1000 + seed) for seed in range(100)]
    assert sum(map(covered, found)) >= 90
    assert np.mean([exponents_follow(one) for one in found]) < 2.0


@pytest.mark.slow
def test_a_hundred_markov_chains() -> None:
    maps = [chain(1000 + seed) for seed in range(100)]
    assert sum(any(edge.interval is not None for edge in chart.edges) for chart in maps) <= 5
