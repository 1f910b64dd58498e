r"""All signals of a table ranked by AUROC, with a paired bootstrap and a correction for several tests.

Every replica draws the same answers for all signals, so that what is common to them cancels in differences. Duplicates
are drawn together. Intervals of differences hold for all signals at once, and p-values are corrected for their number,
by the largest studentised deviation of each replica (Westfall and Young 1993), which takes the correlation of signals
into account and is never less powerful than Bonferroni.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heatbath.errors import BadInput
from heatbath.trust.calibration.ranking_metrics import (
    area_under_risk_coverage,
    area_under_roc,
    prediction_rejection_ratio,
    weighted_areas,
)
from heatbath.trust.calibration.reliability import LEVEL
from heatbath.trust.calibration.signal_table import Floats, Ints, SignalDescription, SignalTable, validate_both_labels

REPLICAS = 2000
_LEAST_STDERR = 1e-12


@dataclass(frozen=True)
class PairedDifference:
    """The difference from a reference: `low` and `high` hold for all signals at once, `p_value` is corrected."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class RankedSignal:
    """The order that one signal puts the answers in.

    Attributes:
        column: its name, direction, cost and gauge.
        auroc: the area under its ROC curve; `low` and `high` are its own 95 % interval.
        aurc: the area under its risk-coverage curve.
        prr: its prediction rejection ratio.
        against_chance: its AUROC minus one half.
        against_reference: its AUROC minus that of the reference signal.
    """

    column: SignalDescription
    auroc: float
    low: float
    high: float
    aurc: float
    prr: float
    against_chance: PairedDifference
    against_reference: PairedDifference


@dataclass(frozen=True)
class SignalRanking:
    """Signals by falling AUROC; `reference` is the signal that all are compared with."""

    reference: str
    signals: tuple[RankedSignal, ...]
    replicas: int


def rank_signals(
    table: SignalTable, reference: str | None = None, *, replicas: int | None = None, seed: int = 0
) -> SignalRanking:
    """Rank the signals of a table.

    Args:
        table: signals and labels; the aggregation of a signal must have been chosen on other answers.
        reference: the signal that all are compared with; the first of the table.
        replicas: number of bootstrap replicas; 2000.
        seed: seed of the bootstrap.

    Raises:
        BadInput: answers of one kind only, no signals, no such reference.
    """
    validate_both_labels(table.labels, "a ranking")
    if not table.columns:
        raise BadInput("`table` has no signals: give at least one.")
    replicas = REPLICAS if replicas is None else replicas
    chosen = table.index(table.names[0] if reference is None else reference)
    scores_nm = table.score_matrix()
    area_m = np.array([area_under_roc(scores_n, table.labels) for scores_n in scores_nm.T])
    weights_rn = draw_counts(table.units, replicas, np.random.default_rng(seed))
    area_rm = weighted_areas(scores_nm, table.labels, weights_rn)
    area_rm = area_rm[~np.isnan(area_rm).any(1)]
    if len(area_rm) < replicas // 2:
        raise BadInput(f"{int(table.labels.sum())} right of {len(table)} answers are too few to compare signals.")
    chance = estimate_simultaneously(area_m - 0.5, area_rm - 0.5)
    against = estimate_simultaneously(area_m - area_m[chosen], area_rm - area_rm[:, [chosen]])
    low_m, high_m = np.quantile(area_rm, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    ranked = [
        RankedSignal(
            table.columns[m],
            float(area_m[m]),
            float(low_m[m]),
            float(high_m[m]),
            area_under_risk_coverage(scores_nm[:, m], table.labels),
            prediction_rejection_ratio(scores_nm[:, m], table.labels),
            chance[m],
            against[m],
        )
        for m in np.argsort(-area_m, kind="stable").tolist()
    ]
    return SignalRanking(table.names[chosen], tuple(ranked), len(area_rm))


def estimate_simultaneously(value_m: Floats, replica_rm: Floats) -> list[PairedDifference]:
    """Return intervals that hold for all m values at once with 95 %, and p-values of "zero" corrected for m."""
    stderr_m = replica_rm.std(0, ddof=1)
    free = stderr_m > _LEAST_STDERR
    scale_m = np.where(free, stderr_m, 1.0)
    largest_r = (np.abs(replica_rm - value_m) / scale_m)[:, free].max(1, initial=0.0)
    width = float(np.quantile(largest_r, LEVEL)) * np.where(free, stderr_m, 0.0)
    reached_m = (largest_r[:, None] >= np.abs(value_m) / scale_m).sum(0)
    p_m = np.where(free, (1 + reached_m) / (1 + len(largest_r)), np.where(value_m == 0, 1.0, 1 / (1 + len(largest_r))))
    columns = (value_m, value_m - width, value_m + width, p_m)
    return [PairedDifference(*map(float, row)) for row in zip(*columns, strict=True)]


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down rule; valid under any dependence."""
    p_k = np.asarray(p_values, np.float64)
    order = np.argsort(p_k, kind="stable")
    stepped = np.maximum.accumulate(p_k[order] * np.arange(len(p_k), 0, -1))
    corrected = np.empty_like(p_k)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in corrected]


def draw_counts(units: Ints, replicas: int, rng: np.random.Generator) -> Floats:
    """Draw how often each row counts in each replica of a bootstrap over units, (r, n)."""
    _, index = np.unique(units, return_inverse=True)
    num_units = int(index.max()) + 1
    counts_ru = rng.multinomial(num_units, np.full(num_units, 1 / num_units), size=replicas)
    return np.asarray(counts_ru[:, index], np.float64)


def bootstrap_interval(
    metric: Callable[[Floats, Ints], float], values_n: Floats, labels_n: Ints, counts_rn: Floats
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a metric of values and labels over the replicas `counts_rn`, (r, n).

    Replicas that the metric refuses, because their labels are of one kind, are left out; NaN if none is left.
    """
    index = np.arange(len(labels_n))
    found = [_replica_metric(metric, values_n, labels_n, np.repeat(index, c)) for c in counts_rn.astype(np.int64)]
    kept = np.array([value for value in found if value is not None])
    if not len(kept):
        return float("nan"), float("nan")
    # Without interpolation, since a replica of the NLL may be infinite.
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return float(low), float(high)


def _replica_metric(
    metric: Callable[[Floats, Ints], float], values_n: Floats, labels_n: Ints, rows: Ints
) -> float | None:
    try:
        return metric(values_n[rows], labels_n[rows])
    except BadInput:
        return None
