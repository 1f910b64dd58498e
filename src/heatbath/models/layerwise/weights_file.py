"""A safetensors file of float32 tensors, read one tensor at a time into memory of its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file: their shapes, and the places of their first bytes."""

    path: Path
    shapes: Mapping[str, Shape]
    offsets: Mapping[str, int]

    def read_tensor(self, name: str) -> Floats:
        """Read one tensor. A mapped file would stay in memory as a whole once every layer has been used."""
        shape = self.shapes[name]
        values: Floats = np.fromfile(self.path, np.dtype("<f4"), prod(shape), offset=self.offsets[name])
        return values.reshape(shape)


def open_weights(path: Path) -> WeightsFile | None:
    """Read the header of a safetensors file; None unless it is complete and all its tensors are float32."""
    try:
        with path.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            begin, length = 8 + size, path.stat().st_size
            header = json.loads(stream.read(size)) if begin <= length else None
        return None if header is None else _parse_header(path, header, begin, length)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _parse_header(path: Path, header: dict[str, dict[str, Any]], begin: int, length: int) -> WeightsFile | None:
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    offsets = {name: entry["data_offsets"] for name, entry in entries.items()}
    is_whole = all(
        entries[name]["dtype"] == "F32" and last - first == 4 * prod(shapes[name]) and begin + last <= length
        for name, (first, last) in offsets.items()
    )
    total = sum(last - first for first, last in offsets.values())
    if not is_whole or begin + total != length:
        return None
    return WeightsFile(path, shapes, {name: begin + first for name, (first, _) in offsets.items()})
