"""Triton's kernels against the CPU's: interpreted where there is no device."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import numpy as np
import pytest
import torch
from ensembles import normal

from heatbath.ensemble.row_layout import as_rows
from heatbath.kernels import cpu

pytest.importorskip("triton", reason="Triton is not installed: it comes with CUDA builds of PyTorch")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BETAS = np.array([[0.0, 0.3, 1.0, 7.0, math.inf]])
TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


@pytest.fixture(scope="module")
def cuda() -> ModuleType:
    return importlib.import_module("heatbath.kernels.cuda")


def energies(kind: torch.dtype) -> torch.Tensor:
    values = normal(0, (3, 5001))
    values[0, :4500] = np.inf
    values[1, 4500:] = np.inf
    return torch.from_numpy(values).to(kind).to(DEVICE)


@pytest.mark.parametrize("kind", TYPES)
def test_sums_and_choices(cuda, kind):
    given = energies(kind)
    ours, theirs = cuda.sums(given, BETAS), cpu.sums(as_rows(given.cpu()).words, BETAS)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6)
    index = np.array([3, 10, 4700])
    np.testing.assert_array_equal(
        cuda.select_states(given, index), cpu.select_states(as_rows(given.cpu()).words, index)
    )


@pytest.mark.parametrize("beta", [0.0, 1.0, math.inf])
def test_draws(cuda, beta):
    given = energies(torch.float32)
    for uniform in (0.0, 0.37, 1 - 2.0**-53):
        arguments = np.full(3, beta), np.full(3, uniform)
        np.testing.assert_array_equal(
            cuda.draw(given, *arguments)[0], cpu.draw(as_rows(given.cpu()).words, *arguments)[0]
        )


def test_bad_rows(cuda):
    given = energies(torch.float32)
    given[0], given[1, 7], given[2, 3] = math.inf, math.nan, -math.inf
    assert cuda.sums(given, BETAS)[:, 0, 0].tolist() == [3, 1, 2]
