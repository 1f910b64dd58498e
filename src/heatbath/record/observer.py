"""Observers of a run: callbacks on the frame of each step. A run without observers pays nothing for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.record.record import Record
from heatbath.short_repr import short_repr


@dataclass(frozen=True, repr=False)
class Frame:
    """One step of a run: at step `index` the batch rows `rows` (A,) drew `tokens` (A,).

    `record` (A,) is the record of the step, None if the run records nothing. If `sources` is given, rows were
    reordered before the step: row i became the first `lengths[i]` tokens (None: all) of the former row `sources[i]`.
    """

    index: int
    rows: NDArray[np.int64]
    tokens: NDArray[np.int64]
    record: Record | None
    sources: NDArray[np.int64] | None = None
    lengths: NDArray[np.int64] | None = None

    __repr__ = short_repr


class Observer(ABC):
    """Abstract base of observers: receives the frames of a run in order, and never changes what is drawn."""

    @abstractmethod
    def update(self, frame: Frame) -> None:
        """Process one frame."""
