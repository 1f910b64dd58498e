"""The table that calibration works on: one row per answered question, one column per signal, and a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatbath.errors import BadInput, suggest_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SignalDescription:
    """The description of one signal.

    Attributes:
        name: its name, with the aggregation over tokens after a colon, such as `entropy:max`.
        direction: 1 if larger values mean a right answer, -1 if smaller ones do.
        cost: tokens that are computed for it beside those of the answer, per answer; 0 for a signal of its trace.
        is_gauge_invariant: false if a constant added to all energies of a context changes it.
    """

    name: str
    direction: int = 1
    cost: float = 0.0
    is_gauge_invariant: bool = True


@dataclass(frozen=True)
class SignalTable:
    """Signals and labels of n answered questions.

    Attributes:
        columns: the m signals.
        values: the signals, (n, m), finite.
        labels: 1 for a right answer and 0 for a wrong one, (n,).
        groups: the group of each question, (n,); "" if there are none.
        units: an integer per question, (n,): rows with the same one are duplicates, and stay together in every split.
    """

    columns: tuple[SignalDescription, ...]
    values: Floats
    labels: Ints
    groups: tuple[str, ...] = ()
    units: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", validate_labels(self.labels))
        object.__setattr__(self, "values", _validate_values(self.values, len(self.labels), self.columns))
        size = len(self.labels)
        object.__setattr__(self, "groups", tuple(self.groups) or ("",) * size)
        object.__setattr__(self, "units", np.asarray(self.units, np.int64) if len(self.units) else np.arange(size))
        for name in ("groups", "units"):
            if len(getattr(self, name)) != size:
                raise BadInput(f"`{name}` must have one entry per label, {size}, got {len(getattr(self, name))}.")
        if len(set(self.names)) != len(self.columns):
            raise BadInput(f"`columns` must have different names, got {', '.join(self.names)}.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the signals."""
        return tuple(column.name for column in self.columns)

    def index(self, name: str) -> int:
        """Return the column of a signal.

        Raises:
            BadInput: there is no such signal.
        """
        if name not in self.names:
            raise BadInput(f"there is no signal {name!r}{suggest_name(name, self.names)}: see `names` of the table.")
        return self.names.index(name)

    def scores(self, name: str) -> Floats:
        """Return a signal with its sign chosen so that larger means a right answer, (n,)."""
        column = self.index(name)
        return self.values[:, column] * self.columns[column].direction

    def score_matrix(self) -> Floats:
        """Return all signals with their signs chosen so that larger means a right answer, (n, m)."""
        return self.values * np.array([column.direction for column in self.columns], np.float64)

    def take(self, rows: ArrayLike) -> SignalTable:
        """Return the table of some rows, given by index or by mask."""
        index = np.arange(len(self))[np.asarray(rows)]
        groups = tuple(self.groups[i] for i in index.tolist())
        return replace(
            self, values=self.values[index], labels=self.labels[index], groups=groups, units=self.units[index]
        )

    def select(self, names: Sequence[str]) -> SignalTable:
        """Return the table of some signals.

        Raises:
            BadInput: there is no such signal.
        """
        index = [self.index(name) for name in names]
        return replace(self, columns=tuple(self.columns[i] for i in index), values=self.values[:, index])


def validate_labels(labels: ArrayLike) -> Ints:
    """Return labels as integers, (n,).

    Raises:
        BadInput: there are none, or one is not 0 or 1.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not array.size:
        raise BadInput(f"`labels` must be one 0 or 1 per answer, got an array of shape {array.shape}.")
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        wrong = next(value for value in array.tolist() if isinstance(value, str) or value not in (0, 1))
        raise BadInput(f"a label must be 0 (wrong) or 1 (right), got {wrong!r}: grade the answers first.")
    return array.astype(np.int64)


def validate_both_labels(labels: Ints, purpose: str) -> None:
    """Check that there are right and wrong answers.

    Raises:
        BadInput: all labels are equal, or there are none.
    """
    right = int(labels.sum())
    if not 0 < right < len(labels):
        raise BadInput(
            f"{purpose} needs right and wrong answers, got {right} right of {len(labels)}: "
            "give questions of another difficulty, or another grader."
        )


def validate_probabilities(probabilities: ArrayLike, size: int) -> Floats:
    """Return probabilities as floats, (n,).

    Raises:
        BadInput: there is not one per label, or one is not in [0, 1].
    """
    array = np.asarray(probabilities, np.float64)
    if array.shape != (size,):
        raise BadInput(f"expected one probability per label, {size}, got an array of shape {array.shape}.")
    inside = (array >= 0) & (array <= 1)
    if not inside.all():
        raise BadInput(f"a probability must be in [0, 1], got {array[~inside][0]}.")
    return array


def validate_scores(scores: ArrayLike, size: int) -> Floats:
    """Return scores as floats, (n,).

    Raises:
        BadInput: there is not one per label, or one is NaN or infinite.
    """
    array = np.asarray(scores, np.float64)
    if array.shape != (size,):
        raise BadInput(f"expected one score per label, {size}, got an array of shape {array.shape}.")
    return _require_finite(array, "the signal")


def _validate_values(values: ArrayLike, size: int, columns: Sequence[SignalDescription]) -> Floats:
    array = np.asarray(values, np.float64)
    if array.shape != (size, len(columns)):
        raise BadInput(f"`values` must have the shape ({size}, {len(columns)}), got {array.shape}.")
    for column, values_n in zip(columns, array.T, strict=True):
        _require_finite(values_n, f"the signal {column.name}")
        if column.direction not in (-1, 1):
            raise BadInput(f"`direction` of {column.name} must be 1 or -1, got {column.direction!r}.")
    return array


EXACTNESS = 1e-6
"""Width of bounds, relative to their size, below which a signal counts as exact: that of rounding."""


def is_exact(lower: float, upper: float) -> bool:
    """Return true for bounds that agree up to rounding; false for NaN."""
    return lower == upper or upper - lower <= EXACTNESS * max(1.0, abs(lower), abs(upper))


def _require_finite(values_n: Floats, what: str) -> Floats:
    wrong = ~np.isfinite(values_n)
    if wrong.any():
        raise BadInput(
            f"{what} is not a finite number for {int(wrong.sum())} of {len(values_n)} answers, first "
            f"{values_n[wrong][0]}: leave the signal or these answers out."
        )
    return values_n
