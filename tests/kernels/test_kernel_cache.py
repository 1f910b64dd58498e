"""Compiled kernels on disk: kept between processes, and compiled again where a file is damaged."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KERNEL = """
from heatbath.kernels.jit import jit

@jit
def add(values):
    total = 0.0
    for value in values:
        total += value
    return total
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[], Any]:
    """Load a module with one kernel, as another process would; its cache lies beside it."""
    source = tmp_path / "kernel.py"
    source.write_text(KERNEL)

    def load_kernel() -> Any:
        spec = importlib.util.spec_from_file_location("kernel_of_a_test", source)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.add

    return load_kernel


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 64]) + data[len(data) // 2 + 1 :],
    "the first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}


def test_damaged_kernels_are_compiled_again(load: Callable[[], Any], tmp_path: Path) -> None:
    values = np.arange(5.0)
    assert load()(values) == 10.0
    files = sorted(tmp_path.rglob("*.nb[ci]"))
    assert len(files) == 2
    again = load()
    assert again(values) == 10.0 and sum(again.stats.cache_hits.values()) == 1
    # The data, then the index.
    for file, names in zip(files, (("a bit", "cut short"), ("the first byte", "empty")), strict=True):
        whole = file.read_bytes()
        for damage in map(DAMAGES.__getitem__, names):
            file.write_bytes(damage(whole))
            kernel = load()
            assert kernel(values) == 10.0 and sum(kernel.stats.cache_hits.values()) == 0
            assert file.read_bytes() != damage(whole)
    kernel = load()
    assert kernel(values) == 10.0 and sum(kernel.stats.cache_hits.values()) == 1
