"""The threshold of support: chosen so that passages which cannot support anything seldom pass, and kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heatbath.engine.base import ModelInfo
from heatbath.errors import BadInput
from heatbath.record.result_file import ResultFormat
from heatbath.retrieval.answer_units import Granularity

THRESHOLD_FORMAT = ResultFormat("support threshold", "python tools/citations.py", "support.json", (1,))


@dataclass(frozen=True)
class SupportThreshold:
    """A threshold with what it was chosen on.

    Attributes:
        nats: support from which a passage counts.
        max_error: bound on the share of passages that support nothing and pass.
        num_null: supports of such passages that it was chosen on.
        granularity: the parts that were supported.
        fingerprint: that of the model.
    """

    nats: float
    max_error: float
    num_null: int
    granularity: Granularity
    fingerprint: str

    def validate_model(self, model: ModelInfo) -> None:
        """Raise `BadInput` if the threshold was chosen for another model."""
        if model.fingerprint != self.fingerprint:
            raise BadInput(
                f"the threshold of support was chosen for another model than {model.name}: choose one for it, or set "
                "the nats."
            )

    def save(self, path: Path) -> None:
        """Write the file."""
        THRESHOLD_FORMAT.save(self, path)


def load_threshold(path: str | Path) -> SupportThreshold:
    """Read the file of a threshold. Raises `BadInput` for one that is missing or damaged."""
    return THRESHOLD_FORMAT.load(path, SupportThreshold)


def choose_threshold(null: Sequence[float], max_error: float) -> float:
    r"""Return the smallest threshold, above 0, that one more passage without effect passes with at most `max_error`.

    It is the conformal quantile of the supports `null` of passages that support nothing: the
    $\lceil (n + 1)(1 - \alpha) \rceil$-th smallest of n.

    Raises:
        BadInput: too few supports for so small an error.
    """
    if not 0 < max_error < 1:
        raise BadInput(f"`max_error` must be in (0, 1), got {max_error}.", param="max_error")
    values = np.sort(np.asarray(null, np.float64))
    place = int(np.ceil((len(values) + 1) * (1 - max_error)))
    if place > len(values):
        raise BadInput(f"{len(values)} supports are too few for an error of {max_error}: give at least {place}.")
    return max(float(np.nextafter(values[place - 1], np.inf)), float(np.finfo(np.float64).tiny))
