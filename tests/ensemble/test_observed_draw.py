"""A draw with what it is from: the same as asking for each by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ensembles import as_format, normal, widened

from heatbath.ensemble import observed_draw, quantile, reference, state
from heatbath.errors import BadInput, NotANumber

NAMES = ("ground", "log_z", "mean_energy", "variance", "entropy", "heat_capacity", "p_max", "purity", "energy")


def close(seen: Any, expected: Any, rtol: float) -> None:
    for name in NAMES:
        np.testing.assert_allclose(
            np.asarray(getattr(seen, name)), np.asarray(getattr(expected, name)), rtol=rtol, atol=rtol, err_msg=name
        )


@pytest.mark.parametrize("kind", [pytest.param("float16", marks=pytest.mark.slow), "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("states", [1, 255, 700, 9000])
def test_it_is_the_draw_and_the_state(kind: str, beta: float, states: int) -> None:
    rng = np.random.default_rng(states)
    energies = normal(1, (20, states)) * 4
    energies[:, 1::3] = np.inf
    given = as_format(energies, kind)
    uniform = rng.random(20)
    drawn, seen, plain = observed_draw(given, beta, uniform)
    np.testing.assert_array_equal(drawn, quantile(given, beta, uniform))
    close(seen, state(given, beta, index=drawn), 1e-9 if kind == "float64" else 2e-5)
    np.testing.assert_array_equal(np.asarray(seen.rank), np.asarray(state(given, beta, index=drawn).rank))
    exact = widened(given)
    for row, index in enumerate(drawn):
        logp = np.log(reference.probabilities(exact[row], 1.0)[index])
        assert float(np.asarray(plain)[row]) == pytest.approx(logp, abs=1e-12 if kind == "float64" else 1e-5)


def test_a_wide_range_of_energies_is_summed_in_float64() -> None:
    energies = np.array([[0.0, 1.0, 3e20, 2.0], [-1e30, 5.0, 3.0, np.inf]], np.float32)
    for beta in (1e-21, 1.0):
        drawn, seen, _ = observed_draw(energies, beta, np.array([0.4, 0.7]))
        close(seen, state(energies, beta, index=drawn), 1e-6)
        assert np.isfinite(np.asarray(seen.variance)).all()


def test_what_is_no_ensemble_is_refused() -> None:
    for bad, error in ((np.nan, NotANumber), (-np.inf, BadInput)):
        energies = np.zeros((3, 300), np.float32)
        energies[1, 7] = bad
        with pytest.raises(error, match="row 1"):
            observed_draw(energies, 1.0, np.zeros(3))
    with pytest.raises(BadInput, match="all"):
        observed_draw(np.full((1, 4), np.inf), 1.0, np.zeros(1))
    with pytest.raises(BadInput, match="uniform"):
        observed_draw(np.zeros((1, 4)), 1.0, np.ones(1))
