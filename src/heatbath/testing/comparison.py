"""Assertions on energies: the same states forbidden, the rest equal within a tolerance in nats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]


def as_float64(energies: Any) -> Floats:
    """Return a copy of energies of any library as float64 on the CPU."""
    return np.array(to_numpy(energies), np.float64)


def assert_same(found: Floats, expected: Floats, tolerance: float, what: str) -> None:
    """Raise AssertionError unless both forbid the same states and differ by at most `tolerance` elsewhere."""
    assert found.shape == expected.shape, f"{what}: shapes {found.shape} and {expected.shape} differ."
    assert (np.isinf(found) == np.isinf(expected)).all(), f"{what}: they forbid different states."
    allowed = ~np.isinf(expected)
    worst = float(np.abs(found[allowed] - expected[allowed]).max(initial=0.0))
    assert worst <= tolerance, f"{what}: they differ by {worst:.3g} nats, more than {tolerance:.3g}."


def assert_energies(energies: Floats, what: str) -> None:
    """Raise AssertionError at a NaN or -inf."""
    assert not np.isnan(energies).any(), f"{what} hold a NaN at {np.argwhere(np.isnan(energies))[0].tolist()}."
    assert not (energies == -np.inf).any(), f"{what} hold -inf; +inf alone may be infinite."


def assert_bad_input(action: Callable[[], object], what: str) -> None:
    """Raise AssertionError unless `action` raises `BadInput`."""
    try:
        action()
    except BadInput:
        return
    except Exception as error:
        raise AssertionError(f"{what} must raise BadInput, not {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what} must raise BadInput, but was accepted.")
