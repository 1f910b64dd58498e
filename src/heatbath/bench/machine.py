"""A description of the machine and the installation, for benchmark results."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heatbath.installation import find_version

FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "neon", "asimd", "sve")
PACKAGES = ("numpy", "torch", "transformers", "numba", "pyarrow")


def describe_machine() -> dict[str, Any]:
    """Return Python, processor, cores, threads, GPU and the versions of the relevant packages."""
    import torch

    return {
        "heatbath": find_version("heatbath"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _find_processor(),
        "cpu_features": _find_cpu_features(),
        "cores": count_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: find_version(name) for name in PACKAGES},
    }


def count_cores() -> int:
    """Return the number of cores that this process may use, which a container or `taskset` can reduce."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _read_cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return {}
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _find_processor() -> str:
    return _read_cpuinfo().get("model name") or platform.processor() or platform.machine()


def _find_cpu_features() -> list[str]:
    info = _read_cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in FEATURES if name in flags]
