"""The ensemble's kernels against the cheapest thing a user would write instead: PyTorch's logsumexp, or a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from heatbath.bench.base import BenchmarkLine, lower_limit_line, time_sides, upper_limit_line
from heatbath.ensemble import curve, nodes, quantile, state

ROWS, STATES, THREADS = 64, 49_152, 2
DEVICE_ROWS, DEVICE_STATES = 256, 128_256


def lines() -> Iterator[BenchmarkLine]:
    """CPU: float32 rows, two threads. CUDA, where there is a device: bfloat16 rows against the copy bandwidth."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield from cpu_lines()
    finally:
        torch.set_num_threads(before)
    if torch.cuda.is_available():
        yield device_line()


def cpu_lines() -> Iterator[BenchmarkLine]:
    """state, curve, nodes and quantile, in milliseconds, each beside torch.logsumexp."""
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
    """Bytes of energies that `state` reads in a second, beside the bytes that a copy moves (read and written)."""
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
    """The call, followed by waiting for the device."""
    import torch

    def run() -> None:
        call()
        torch.cuda.synchronize()

    return run
