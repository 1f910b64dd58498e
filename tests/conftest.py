"""What every test shares: hypothesis profiles, thread counts, the embedded model, and skips for absent hardware."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# numba reads its setting once, when it is first imported; PyTorch takes the OpenMP one.
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

# No deadline: the first call of a kernel compiles it. In CI the examples are the same every time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

MODEL = "smollm2-135m"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where PyTorch sees no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The folder of the embedded model, fetched once into the user's cache."""
    from heatbath.models.hub import catalog

    return Path(catalog.pull(MODEL))


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> Any:
    """The embedded model in float32. Ask for it only in tests marked `weights`."""
    import heatbath

    return heatbath.load(MODEL, dtype="float32")
