"""The kernels of the ensemble against the cheapest alternative of a user: PyTorch's logsumexp, or a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, limit_torch_threads, lower_limit_line, time_sides, upper_limit_line
from heatbath.ensemble import curve, nodes, quantile, state

ROWS, STATES, THREADS = 64, 49_152, 2
DEVICE_ROWS, DEVICE_STATES = 256, 128_256


def lines() -> Iterator[BenchmarkLine]:
    """Measure float32 rows on two CPU threads, and bfloat16 rows against the copy bandwidth where CUDA is available."""
    import torch

    with limit_torch_threads(THREADS):
        yield from cpu_lines()
    if torch.cuda.is_available():
        yield device_line()


def cpu_lines() -> Iterator[BenchmarkLine]:
    """Measure state, curve, nodes and quantile in milliseconds, each beside torch.logsumexp."""
    import torch

    rng = np.random.default_rng(0)
    energies = torch.from_numpy(rng.normal(0.0, 3.0, (ROWS, STATES)).astype(np.float32))
    betas, uniform = np.geomspace(0.1, 10.0, 64), rng.random(ROWS)
    sides = {
        "state": (1.5, lambda: state(energies, 1.0)),
        "curve at 64 betas": (6.0, lambda: curve(energies, betas)),
        "nodes of a record": (1.5, lambda: nodes(energies)),
        "quantile (one draw a row)": (1.5, lambda: quantile(energies, 1.0, uniform)),
    }
    for name, (limit, ours) in sides.items():
        seconds = time_sides({"ours": ours, "theirs": lambda: torch.logsumexp(energies, -1)})
        title = f"{name} / torch.logsumexp, {ROWS} x {STATES} float32"
        yield upper_limit_line(title, 1e3 * seconds["ours"], 1e3 * seconds["theirs"], limit=limit, unit="ms")


def device_line() -> BenchmarkLine:
    """Measure the bytes of energies that `state` reads per second, beside those that a copy reads and writes."""
    import torch

    energies = torch.randn(DEVICE_ROWS, DEVICE_STATES, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(energies)
    size = energies.numel() * energies.element_size() / 1e9
    sides = {
        "ours": synchronize_after(lambda: state(energies, 1.0)),
        "copy": synchronize_after(lambda: target.copy_(energies)),
    }
    seconds = time_sides(sides)
    title = f"state / copy bandwidth, {DEVICE_ROWS} x {DEVICE_STATES} bfloat16, CUDA"
    return lower_limit_line(title, size / seconds["ours"], 2 * size / seconds["copy"], limit=0.8, unit="GB/s")


def synchronize_after(call: Any) -> Any:
    """Return a function that makes the call and then waits for the device."""
    import torch

    def run() -> None:
        call()
        torch.cuda.synchronize()

    return run
