"""The result of a comparison: differences B − A of observables, edges and next-token distributions, with intervals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.estimate.paired_differences import Difference, combine_p_values
from heatbath.phases.edges import Edge
from heatbath.record import Provenance

Floats = NDArray[np.float64]

FAMILY_LEVEL = 0.05
"""Probability of naming any temperature of an observable, or any estimator of an edge, if there is no difference."""


@dataclass(frozen=True)
class SideSummary:
    """One side of a comparison: its label, model and settings."""

    label: str
    model: Provenance
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class DifferenceCurve:
    """One observable of both sides and its difference B − A at the same temperatures, (k,) each.

    `low` and `high` bound the 95 % interval of the difference at each temperature; `p_value` is that of no difference.
    """

    name: str
    temperature: Floats
    a: Floats
    a_stderr: Floats
    b: Floats
    b_stderr: Floats
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats

    @property
    def joint_p_value(self) -> float:
        """The p-value of no difference at any temperature."""
        return combine_p_values(self.p_value)

    @property
    def significant_mask(self) -> NDArray[np.bool_]:
        """Mask of the temperatures that differ when all are tested together at 5 %, (k,)."""
        corrected = [combine_p_values(np.full(len(self.p_value), p)) for p in self.p_value]
        return np.asarray(corrected) < FAMILY_LEVEL


@dataclass(frozen=True)
class EstimatorDifference:
    """The difference of one estimator of an edge: B − A with its interval, or None with the reason."""

    name: str
    a: float | None
    b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    reason: str


@dataclass(frozen=True)
class EdgeDifference:
    """An edge of both sides, and its difference B − A.

    `difference` is None where the estimators disagree, so that the interval stands alone, and where there is none.
    """

    name: str
    a: Edge
    b: Edge
    difference: float | None
    interval: tuple[float, float] | None
    verdict: str
    estimators: tuple[EstimatorDifference, ...]


@dataclass(frozen=True)
class TextQuantity:
    """A mean over the tokens (or bytes) of the shared texts, with the interval over texts."""

    name: str
    unit: str
    difference: Difference


@dataclass(frozen=True)
class TokenDisagreement:
    """A token on which the two next-token distributions differ much: its text, and the divergence in nats."""

    context: str
    token: str
    a_logprob: float
    b_logprob: float
    divergence: float


@dataclass(frozen=True)
class TextComparison:
    """Both sides on the same texts, teacher-forced at `temperature`."""

    source: str
    texts: int
    tokens: int
    temperature: float
    same_vocabulary: bool
    quantities: Sequence[TextQuantity]
    disagreements: Sequence[TokenDisagreement]

    def __getitem__(self, name: str) -> Difference:
        """Return the quantity `name`."""
        for one in self.quantities:
            if one.name == name:
                return one.difference
        raise BadInput(
            f"there is no quantity {name!r}: choose one of {', '.join(one.name for one in self.quantities)}."
        )


@dataclass(frozen=True)
class Pairing:
    """The likeness of pairs: share of identical texts and mean tokens to the first difference, (k,) each.

    `variance_ratio` (k,) is the variance of the difference of two unpaired texts over that of a pair, for the entropy.
    """

    pairs: int
    temperature: Floats
    identical: Floats
    common_tokens: Floats
    variance_ratio: Floats


@dataclass(frozen=True)
class ComparisonData(ABC):
    """The differences between two sides, B − A, with 95 % intervals; abstract, see `Comparison`."""

    a: SideSummary
    b: SideSummary
    settings: Mapping[str, Any]
    pairing: Pairing | None
    curves: Sequence[DifferenceCurve]
    edges: Sequence[EdgeDifference]
    texts: TextComparison | None
    notes: Sequence[str]

    def __getitem__(self, name: str) -> DifferenceCurve:
        """Return the curve of the observable `name`."""
        for curve in self.curves:
            if curve.name == name:
                return curve
        raise BadInput(f"there is no curve {name!r}: choose one of {', '.join(curve.name for curve in self.curves)}.")

    def edge(self, name: str) -> EdgeDifference:
        """Return the edge called freeze or melt.

        Raises:
            BadInput: the comparison did not look for this edge.
        """
        for edge in self.edges:
            if edge.name == name:
                return edge
        raise BadInput(
            f"there is no edge {name!r}: this one has {', '.join(edge.name for edge in self.edges) or 'none'}."
        )

    @abstractmethod
    def save(self, folder: str | Path) -> Path:
        """Write the page and the JSON file to a folder."""
