"""Thermostats: solved targets by enumeration, feedback by its law, mirostat against a recursion written apart."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heatbath.decode import Ancestral, RowRandom, Task, windows
from heatbath.decode.schedules import Schedule, mirostat, thermostat
from heatbath.decode.sequences import evaluate_step
from heatbath.energy import ForbiddenTokens, LogitBias
from heatbath.ensemble import quantile, state
from heatbath.errors import BadInput
from heatbath.models import MarkovModel

rows = arrays(float, (3, 9), elements=st.integers(-12, 12).map(lambda n: n / 4) | st.just(np.inf)).filter(
    lambda e: np.isfinite(e).any(-1).all()
)


@dataclass
class Drawn:
    """What a schedule reads of a step."""

    logprob: np.ndarray
    kept_mass: np.ndarray


@given(rows, st.sampled_from([0.05, 0.5, 1.0, 1.8, 3.0]))
def test_entropy_is_held_where_it_can_be(values, target):
    schedule = thermostat("entropy", target, temperature_range=(0.02, 20.0))
    temperatures = schedule.temperatures(None, values, schedule.init(3))
    with np.errstate(divide="ignore"):
        reached = state(values, 1 / temperatures).entropy
    coldest, hottest = (state(values, 1 / t).entropy for t in (0.02, 20.0))
    for t, s, low, high in zip(temperatures, reached, coldest, hottest, strict=True):
        if low >= target:
            assert t == 0
        elif high < target:
            assert t == 20.0
        else:
            assert s == pytest.approx(target, abs=1e-8)


@given(rows, st.sampled_from([0.05, 0.3, 0.8, 3.0]))
def test_heat_capacity_is_held_on_the_cold_side(values, target):
    schedule = thermostat("heat_capacity", target, temperature_range=(0.02, 20.0))
    temperatures = schedule.temperatures(None, values, schedule.init(3))
    grid = np.geomspace(0.02, 20.0, 12)
    peaks = np.array([state(values, 1 / t).heat_capacity for t in grid])
    for row, t in enumerate(temperatures):
        if peaks[:, row].max() < target:
            assert t == pytest.approx(grid[peaks[:, row].argmax()])
        elif t > 0:
            assert state(values[row], 1 / t).heat_capacity == pytest.approx(target, abs=1e-8)
            assert (peaks[grid < t * (1 - 1e-9), row] < target).all()


@pytest.mark.parametrize("window", [None, windows.top_p(0.8)])
def test_the_thermostat_holds_the_entropy_that_the_token_is_drawn_from(window):
    """With fields; a bias of 6 nats would leave the model's own entropy of 1 with an entropy of .03. Before windows."""
    model = MarkovModel.random(seed=2, size=9, scale=1.0)
    fields = [LogitBias({5: 6.0}), ForbiddenTokens([1])]
    sampler = Ancestral(thermostat("entropy", 1.0), window, fields)
    batch = sampler.init(Task(model, [[0], [3], [5]], 4, ()))
    for _ in range(4):
        batch, step = evaluate_step(sampler, RowRandom(0, 3), batch)
        steered = step.pipeline_result.field_stages[-1].energies
        assert state(steered, step.betas).entropy == pytest.approx(1.0, abs=1e-7)
        assert np.isinf(steered[:, 1]).all()
        assert step.logprob == pytest.approx(
            -step.betas * step.final_energies[np.arange(3), step.tokens] - state(step.final_energies, step.betas).log_z
        )


class Watching(Schedule):
    """Keeps what a schedule is shown."""

    def __init__(self):
        self.seen = []

    def temperatures(self, context, energies, memory):
        self.seen.append((np.array(energies), np.array(context.energies)))
        return np.ones(len(context))


def test_all_schedules_are_shown_the_energies_of_the_draw():
    model = MarkovModel.random(seed=2, size=5, scale=1.0)
    schedule = Watching()
    sampler = Ancestral(schedule, windows.top_k(2), LogitBias({2: 3.0}))
    _, step = evaluate_step(sampler, RowRandom(0, 1), sampler.init(Task(model, [[0]], 3, ())))
    (shown, in_context), expected = schedule.seen[0], np.asarray(step.energies) - 3.0 * (np.arange(5) == 2)
    assert shown == pytest.approx(expected) and in_context == pytest.approx(expected)


def test_surprisal_settles_at_its_target():
    """The mean of 4000 surprises has a standard error near 0.02, a fifth of what is allowed; no control misses by 1."""
    rng = np.random.default_rng(5)
    schedule = thermostat("surprisal", 1.5, gain=0.05)
    memory = schedule.init(4)
    seen = []
    for _ in range(1500):
        energies = rng.normal(0, 2.0, (4, 200))
        temperatures = schedule.temperatures(None, energies, memory)
        tokens = quantile(energies, 1 / temperatures, rng.random(4))
        logprob = np.asarray(state(energies, 1 / temperatures, index=tokens).logprob)
        seen.append(-logprob)
        memory = schedule.update_memory(memory, Drawn(logprob, np.ones(4)))
    assert np.mean(seen[500:]) == pytest.approx(1.5, abs=0.1)
    assert (np.exp(memory) >= 0.05 * (1 - 1e-12)).all() and (np.exp(memory) <= 3.0 * (1 + 1e-12)).all()


def apart(energies, stream, tau, rate, version):
    """Mirostat as published, for one row, in probabilities and bits."""
    mu, tokens = 2 * tau, []
    for row, u in zip(energies, stream, strict=True):
        p = np.exp(-row) / np.exp(-row).sum()
        order = np.argsort(-p, kind="stable")
        ranked = p[order]
        if version == 2:
            k = max(int((-np.log2(ranked) <= mu).sum()), 1)
        else:
            i = np.arange(1, 100)
            t, b = np.log((i + 1) / i), np.log(ranked[:99] / ranked[1:100])
            s = (t * b).sum() / (t * t).sum()
            k = ((s - 1) * 2**mu / (1 - len(row) ** -(s - 1))) ** (1 / s)
            k = min(max(round(k), 1), len(row))
        inside = np.zeros(len(row), bool)
        inside[order[:k]] = True
        weights = np.where(inside, p, 0.0)
        token = int((np.cumsum(weights) <= u * weights.sum()).sum())
        tokens.append(token)
        mu -= rate * (-np.log2(p[token]) - tau)
    return tokens, mu


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tau", [2.0, 3.0, 5.0])
def test_mirostat_is_the_published_recursion(version, tau):
    rng = np.random.default_rng(11)
    energies, stream = rng.normal(0, 2.5, (40, 2, 200)), rng.random((40, 2))
    schedule = mirostat(tau * np.log(2), rate=0.4, version=version)
    memory, tokens = schedule.init(2), []
    for values, u in zip(energies, stream, strict=True):
        assert schedule.temperatures(None, values, memory).tolist() == [1.0, 1.0]
        (window,) = schedule.windows(memory)
        left = windows.apply_window(window, values, np.ones(2))
        drawn = quantile(left.energies, 1.0, u)
        tokens.append(drawn)
        logprob = np.asarray(state(left.energies, 1.0, index=drawn).logprob)
        memory = schedule.update_memory(memory, Drawn(logprob, left.kept_mass))
    for row in range(2):
        theirs, mu = apart(energies[:, row], stream[:, row], tau, 0.4, version)
        assert [int(t[row]) for t in tokens] == theirs
        assert memory[row, 0] == pytest.approx(mu * np.log(2), rel=1e-9)


def test_the_zipf_window_at_its_limits():
    values = np.array([[0.0, 0.0, 0.0, 5.0], [0.0, 3.0, 6.0, np.inf]])
    window = mirostat(1.0, version=1).windows(np.full((2, 1), 0.5))[0]
    for beta in (0.0, 1.0, np.inf):
        kept = np.isfinite(window(values, np.full(2, beta)))
        assert kept[:, 0].all() and not kept[1, 3]
        assert beta != 0 or (kept == np.isfinite(values)).all()
        assert beta != np.inf or kept.tolist() == [[True, True, True, False], [True, False, False, False]]


BAD = [
    lambda: thermostat("energy", 1.0),
    lambda: thermostat("entropy", 0.0),
    lambda: thermostat("entropy", 1.0, temperature_range=(1.0, 1.0)),
    lambda: thermostat("entropy", 1.0, temperature_range=(0.0, 1.0)),
    lambda: thermostat("surprisal", 1.0, gain=0.0),
    lambda: mirostat(1.0, version=3),
    lambda: mirostat(1.0, temperature=-1.0),
]


@pytest.mark.parametrize("make", BAD)
def test_settings_out_of_range_are_refused_in_one_sentence(make):
    with pytest.raises(BadInput, match=r"must.*\.$"):
        make()
