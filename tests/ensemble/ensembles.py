"""Energies to test with: ordinary ones, and the extremes that break careless formulas."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Floats = npt.NDArray[np.float64]

quick = settings(max_examples=60, deadline=None, derandomize=True)
finite = st.one_of(st.floats(-1e4, 1e4), st.floats(-5, 5), st.sampled_from([0.0, -0.0, 1e-12, 1e4, -1e4]))
temperatures = st.floats(0.02, 20.0)
spectra = hnp.arrays(np.float64, st.integers(1, 40), elements=finite)


def normal(seed: int, shape: tuple[int, ...], scale: float = 3.0) -> Floats:
    return np.random.default_rng(seed).normal(0.0, scale, shape)


def as_format(energies: Floats, kind: str) -> object:
    """The energies in one of the formats that kernels read."""
    if kind == "bfloat16":
        return torch.from_numpy(energies).to(torch.bfloat16)
    return energies.astype(kind)


def widened(energies: object) -> Floats:
    """What was left of the energies in that format, in float64."""
    if isinstance(energies, torch.Tensor):
        return energies.double().numpy()
    return np.asarray(energies, np.float64)
