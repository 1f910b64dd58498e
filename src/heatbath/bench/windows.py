"""Windows against PyTorch's selection of the 64 largest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, limit_torch_threads, time_sides, upper_limit_line
from heatbath.decode import windows

ROWS, STATES, THREADS = 64, 49_152, 2


def lines() -> Iterator[BenchmarkLine]:
    """Measure milliseconds of a window on float32 rows of Gaussian energies at beta = 1, two threads."""
    with limit_torch_threads(THREADS):
        yield from cpu_lines()


def cpu_lines() -> Iterator[BenchmarkLine]:
    """Measure each window beside torch.topk(k=64) of the same rows."""
    import torch

    rng = np.random.default_rng(0)
    energies = torch.from_numpy(rng.normal(0.0, 3.0, (ROWS, STATES)).astype(np.float32))
    betas = np.ones(ROWS)
    cases = {
        "min_p": (1.2, windows.min_p(0.05)),
        "top_k": (1.2, windows.top_k(64)),
        "top_n_sigma": (1.2, windows.top_n_sigma(1.0)),
        "typical": (1.2, windows.typical(0.9)),
        "top_p": (2.0, windows.top_p(0.9)),
    }
    for name, (limit, window) in cases.items():
        sides: dict[str, Callable[[], object]] = {
            "ours": partial(window, energies, betas),
            "theirs": partial(torch.topk, energies, 64, largest=False),
        }
        seconds = time_sides(sides)
        title = f"{name} / torch.topk(k=64), {ROWS} x {STATES} float32"
        yield upper_limit_line(title, 1e3 * seconds["ours"], 1e3 * seconds["theirs"], limit=limit, unit="ms")
