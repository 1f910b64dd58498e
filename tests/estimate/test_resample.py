"""Resampling walked along every path: the law, not a sample of it; and the variance that lines of descent tell."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.estimate.resample import (
    SCHEMES,
    conditional_multinomial,
    ess,
    genealogical_ess,
    genealogical_variance,
    normalize_log_weights,
    resample_particles,
)

LOG_WEIGHTS = [
    np.array([0.0, -1.3, -np.inf, 0.7]),
    np.array([-0.4, 2.5, 0.1, -1.0]),
    np.full(4, -700.0),
    np.array([-np.inf, 3.0, -np.inf]),
    np.log([0.5, 0.25, 0.25]) - 1e4,
    np.log([2.0, 1.0, 1.0, 4.0]),
    np.array([1.0]),
]


def walk(run: Callable) -> Iterator[tuple[float, object]]:
    """Probability and result of `run(choose)` along every path of its choices."""
    paths: list[tuple[int, ...]] = [()]
    while paths:
        path, asked = paths.pop(), []

        def choose(p, path=path, asked=asked):
            assert (p > 0).all() and p.sum() == pytest.approx(1, abs=1e-12)
            asked.append(p)
            return path[len(asked) - 1] if len(asked) <= len(path) else 0

        result = run(choose)
        taken = path + (0,) * (len(asked) - len(path))
        yield float(np.prod([p[i] for p, i in zip(asked, taken, strict=True)])), result
        for k in range(len(path), len(asked)):
            paths += [(*taken[:k], i) for i in range(1, len(asked[k]))]


def moments(scheme: Callable, log_w) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the number of offspring of each particle, (N,) each, exactly."""
    laws = [(p, np.bincount(parents, minlength=len(log_w))) for p, parents in walk(lambda c: scheme(log_w, c))]
    p, counts = np.array([law[0] for law in laws]), np.array([law[1] for law in laws])
    assert p.sum() == pytest.approx(1, abs=1e-12)
    return p @ counts, p @ counts**2 - (p @ counts) ** 2


def named(scheme: str) -> Callable:
    return lambda log_w, choose: resample_particles(scheme, log_w, choose)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("log_w", LOG_WEIGHTS, ids=range(len(LOG_WEIGHTS)))
def test_expected_offspring_are_n_times_the_weight(scheme, log_w):
    mean, _ = moments(named(scheme), log_w)
    assert np.allclose(mean, len(log_w) * normalize_log_weights(log_w), atol=1e-12, rtol=0)


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=4), st.sampled_from(sorted(SCHEMES)))
def test_expected_offspring_whatever_the_weights(log_w, scheme):
    mean, _ = moments(named(scheme), np.array(log_w))
    assert np.allclose(mean, len(log_w) * normalize_log_weights(np.array(log_w)), atol=1e-12, rtol=0)


def biased_residual(log_w, choose):
    """A twin that rounds to the nearest count, not down."""
    expected = len(log_w) * normalize_log_weights(log_w)
    sure = np.repeat(np.arange(len(log_w)), np.rint(expected).astype(int))[: len(log_w)]
    return np.r_[sure, [choose(normalize_log_weights(log_w)) for _ in range(len(log_w) - len(sure))]].astype(int)


def biased_systematic(log_w, choose):
    """A twin that takes every interval of the offset for equally long."""

    def equal(p):
        return choose(np.full(len(p), 1 / len(p)))

    return resample_particles("systematic", log_w, equal)


@pytest.mark.parametrize("twin", [biased_residual, biased_systematic])
def test_biased_twins_are_seen(twin):
    mean, _ = moments(twin, LOG_WEIGHTS[1])
    assert np.abs(mean - 4 * normalize_log_weights(LOG_WEIGHTS[1])).max() > 1e-2


def test_no_scheme_has_more_variance_than_multinomial_and_systematic_keeps_to_floor_and_ceiling():
    for log_w in LOG_WEIGHTS:
        worst = moments(named("multinomial"), log_w)[1]
        w = normalize_log_weights(log_w)
        assert np.allclose(worst, len(w) * w * (1 - w), atol=1e-12)
        for scheme in ("residual", "stratified"):
            assert (moments(named(scheme), log_w)[1] <= worst + 1e-12).all()
        for _, parents in walk(lambda c, log_w=log_w: resample_particles("systematic", log_w, c)):
            counts = np.bincount(parents, minlength=len(w))
            assert (counts >= np.floor(len(w) * w - 1e-9)).all() and (counts <= np.ceil(len(w) * w + 1e-9)).all()


@pytest.mark.parametrize("scheme", ["residual", "stratified", "systematic"])
@pytest.mark.parametrize("n", [3, 7, 10, 1000])
def test_equal_weights_leave_every_particle_once(scheme, n):
    """Rounding of sums must not let chance in: `choose` is offered one certain outcome."""

    def certain(p):
        assert len(p) == 1
        return 0

    assert resample_particles(scheme, np.full(n, np.log(0.1)), certain).tolist() == list(range(n))


def test_dead_particles_have_no_offspring_even_at_the_ends():
    log_w = np.array([-np.inf, 0.3, -np.inf, -2.0, -np.inf])
    for scheme in SCHEMES:
        for _, parents in walk(lambda c, s=scheme: resample_particles(s, log_w, c)):
            assert set(parents) <= {1, 3}


def test_the_retained_particle_keeps_its_slot_and_the_others_are_multinomial():
    log_w = LOG_WEIGHTS[0]
    w = normalize_log_weights(log_w)
    paths = list(walk(lambda c: conditional_multinomial(log_w, c)))
    assert all(parents[0] == 0 for _, parents in paths)
    for slot in (1, 2, 3):
        law = np.bincount([q[slot] for _, q in paths], weights=[p for p, _ in paths], minlength=4)
        assert np.allclose(law, w, atol=1e-12)
    with pytest.raises(BadInput, match="particle 0 has weight 0"):
        conditional_multinomial(np.array([-np.inf, 0.0]), lambda p: 0)


@pytest.mark.parametrize(
    ("log_w", "match"),
    [
        (np.full(3, -np.inf), "all 3 log-weights are -inf"),
        (np.array([0.0, np.nan]), "log-weight 1 must be .*, got nan"),
        (np.array([np.inf]), "log-weight 0 must be .*, got inf"),
        (np.empty(0), "one per particle, got \\(0,\\)"),
    ],
)
def test_weights_that_name_no_particle(log_w, match):
    for call in (ess, lambda w: resample_particles("systematic", w, lambda p: 0)):
        with pytest.raises(BadInput, match=match):
            call(log_w)


def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(BadInput, match="unknown resampling scheme 'lucky': use one of multinomial, residual"):
        resample_particles("lucky", np.zeros(2), lambda p: 0)
    with pytest.raises(
        BadInput, match=r"unknown resampling scheme 'sistematic' \(did you mean 'systematic'\?\): use one of"
    ):
        resample_particles("sistematic", np.zeros(2), lambda p: 0)


def test_effective_sizes_of_known_populations():
    assert ess(np.full(8, -1e5)) == pytest.approx(8)
    assert ess(np.array([0.0, -np.inf])) == 1
    assert ess(np.log([3.0, 1.0])) == pytest.approx(16 / 10)
    assert genealogical_ess(np.zeros(4), np.array([7, 7, 2, 2])) == pytest.approx(2)
    assert genealogical_ess(np.zeros(4), np.zeros(4, int)) == 1
    assert genealogical_ess(np.log([3.0, 1.0]), np.array([0, 1])) == pytest.approx(ess(np.log([3.0, 1.0])))


# A particle filter small enough to walk: two states, a start, a move, and weights that depend on the state.
START = np.array([0.3, 0.7])
MOVE = np.array([[0.8, 0.2], [0.4, 0.6]])
WEIGHT = np.array([[0.5, 1.7], [1.4, 0.2], [0.9, 2.2]])


def filtered(choose, n: int, steps: int, scheme: str = "multinomial") -> tuple[float, float]:
    """Estimated Z, and its square times the estimated relative variance."""
    x, eves, z = [choose(START) for _ in range(n)], np.arange(n), 1.0
    for t in range(steps):
        w = WEIGHT[t, x]
        z *= w.mean()
        if t < steps - 1:
            parents = resample_particles(scheme, np.log(w), choose)
            x, eves = [choose(MOVE[x[i]]) for i in parents], eves[parents]
    return z, z**2 * genealogical_variance(np.log(w), eves, steps - 1)


@pytest.mark.parametrize(("n", "steps"), [(2, 1), (3, 1), (2, 2), (2, 3)])
def test_lines_of_descent_estimate_the_variance_of_z_without_bias(n, steps):
    p, z, v = np.array([(p, *run) for p, run in walk(lambda c: filtered(c, n, steps))]).T
    law = START
    exact = 1.0
    for t in range(steps):
        mass = law @ WEIGHT[t]
        exact, law = exact * mass, law * WEIGHT[t] / mass @ MOVE
    assert p @ z == pytest.approx(exact, abs=1e-12)
    assert p @ v == pytest.approx(p @ z**2 - exact**2, abs=1e-12)


def test_forgetting_one_resampling_biases_the_variance():
    """The negative control: the exponent counts the start as well."""

    def forgetful(choose):
        x, eves = [choose(START) for _ in range(2)], np.arange(2)
        return (z := WEIGHT[0, x].mean()), z**2 * genealogical_variance(np.log(WEIGHT[0, x]), eves, 1)

    p, z, v = np.array([(p, *run) for p, run in walk(forgetful)]).T
    assert abs(p @ v - (p @ z**2 - (p @ z) ** 2)) > 0.1


def test_a_single_particle_has_no_variance_to_tell():
    with pytest.raises(BadInput, match="at least two particles, got 1"):
        genealogical_variance(np.zeros(1), np.zeros(1, int), 0)
    with pytest.raises(BadInput, match="resamplings is -1"):
        genealogical_variance(np.zeros(2), np.arange(2), -1)
    with pytest.raises(BadInput, match="one per particle"):
        genealogical_ess(np.zeros(2), np.arange(3))
