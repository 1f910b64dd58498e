"""Conversion between NumPy and the library that holds the energies of a model, without importing the other one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def asarray_like(values: Any, like: Any) -> Any:
    """Convert `values` to the library, floating type and device of `like`."""
    if isinstance(like, np.ndarray):
        return np.asarray(to_numpy(values), like.dtype)
    return values.to(like) if isinstance(values, type(like)) else like.new_tensor(np.asarray(values))


def to_numpy(array: Any) -> npt.NDArray[Any]:
    """Convert `array` to NumPy on the CPU; half precision of another library becomes float32, which is exact."""
    return np.asarray(upcast_half(array.detach()).cpu() if hasattr(array, "detach") else array)


def upcast_half(energies: Any) -> Any:
    """Convert `energies` to at least float32, so that a sum with them does not lose half precision."""
    if isinstance(energies, np.ndarray):
        return energies.astype(np.float32) if energies.dtype.itemsize < 4 else energies
    return energies.float() if energies.element_size() < 4 else energies
