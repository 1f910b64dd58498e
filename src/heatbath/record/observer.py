"""What may watch a run: an observer folds over its frames. None attached costs nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.record.record import Record


@dataclass(frozen=True)
class Frame:
    """One step of a run: at step `index` the rows `rows` (A,) of the batch drew `tokens` (A,).

    `record` (A,) is what was kept of the step, None when the run records nothing. Before that, where `sources` is
    given, row i became the first `lengths[i]` tokens (None: all) of what row `sources[i]` held.
    """

    index: int
    rows: NDArray[np.int64]
    tokens: NDArray[np.int64]
    record: Record | None
    sources: NDArray[np.int64] | None = None
    lengths: NDArray[np.int64] | None = None


class Observer(ABC):
    """Folds over the frames of a run; it changes nothing of what is drawn."""

    @abstractmethod
    def update(self, frame: Frame) -> None:
        """Take in one frame."""
