"""Evaluation of signals by name, for one answer or for many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, format_value
from heatbath.record import Trace
from heatbath.short_repr import short_repr
from heatbath.trust.signals.base import Aggregation, Evidence, Floats, NamedSignal, SignalValue, Status
from heatbath.trust.signals.discovery import SIGNALS
from heatbath.trust.signals.list_ensembles import ListEnsembles
from heatbath.trust.signals.record_ensembles import RecordEnsembles, column_key
from heatbath.trust.signals.token_ensembles import TokenEnsembles
from heatbath.trust.signals.token_values import Decisions, TokenValues, aggregate_tokens, choose_decisions

_NO_TOKENS = "the answer has no tokens"
_NO_SOURCE = "there is neither a trace nor a list of log-probabilities"
_TOO_SHORT = "the answer has too few tokens"


@dataclass(frozen=True, repr=False)
class SignalColumn:
    """One signal of n answers: arrays (n,) of value, lower and upper end, and the status and reason of each."""

    value: Floats
    lower: Floats
    upper: Floats
    statuses: Sequence[Status]
    reasons: Sequence[str]

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, row: int) -> SignalValue:
        ends = float(self.value[row]), float(self.lower[row]), float(self.upper[row])
        return SignalValue(*ends, self.statuses[row], self.reasons[row])


def compute_signals(
    evidence: Evidence, names: Sequence[str] | None = None, *, aggregation: Aggregation | None = None
) -> dict[str, SignalValue]:
    """Return the signals of one answer by the names asked for, all signals by default.

    `aggregation` is for names without one, where their signal takes it; the default is each signal's own.

    Raises:
        BadInput: no such signal, or evidence that contradicts itself.
        NotANumber: the evidence holds a NaN.
    """
    columns = compute_signal_columns([evidence], names, aggregation=aggregation)
    return {name: column[0] for name, column in columns.items()}


def compute_signal_columns(
    evidences: Sequence[Evidence], names: Sequence[str] | None = None, *, aggregation: Aggregation | None = None
) -> dict[str, SignalColumn]:
    """Return the signals of many answers, in one pass over the tokens of all. Arguments as in `compute_signals`."""
    if isinstance(names, str):
        raise BadInput(f"`names` must be a list of signals, got the text {names!r}: put it in a list.", param="names")
    wanted = SIGNALS.list_names(aggregation=aggregation) if names is None else names
    signals = {name: SIGNALS.find(name, aggregation=aggregation) for name in wanted}
    batch: _Batch | None = None
    columns = {}
    for name, signal in signals.items():
        if signal.spec.compute_tokens is not None:
            batch = batch or _Batch(evidences)
            columns[name] = batch.compute(signal)
        else:
            columns[name] = _compute_whole(evidences, signal)
    return columns


def _compute_whole(evidences: Sequence[Evidence], signal: NamedSignal) -> SignalColumn:
    assert signal.spec.compute is not None
    values = [signal.spec.compute(evidence, signal.parameter) for evidence in evidences]
    value, lower, upper = (
        np.array([(each.value, each.lower, each.upper) for each in values], np.float64).reshape(-1, 3).T
    )
    return SignalColumn(value, lower, upper, [each.status for each in values], [each.reason for each in values])


@dataclass
class _Group:
    """Answers evaluated together: their numbers `rows` (m,), their ensembles, and what was computed already."""

    rows: NDArray[np.int64]
    ensembles: TokenEnsembles
    masks: list[Any]
    memo: dict[Hashable, TokenValues] = field(default_factory=dict)
    decisions: Decisions | None = None

    def values(self, signal: NamedSignal) -> TokenValues:
        key = signal.spec.name, signal.parameter
        if key not in self.memo:
            assert signal.spec.compute_tokens is not None
            with np.errstate(invalid="ignore", over="ignore"):
                self.memo[key] = signal.spec.compute_tokens(self.ensembles, signal.parameter)
        return self.memo[key]

    def choose(self, aggregation: Aggregation) -> Decisions:
        """Return the decision tokens; none where the aggregation does not ask for them."""
        count = self.ensembles.count
        if aggregation != "decision":
            lengths = self.ensembles.segments.lengths
            return Decisions(np.ones(count, bool), lengths, np.ones(len(lengths), bool))
        if self.decisions is None:
            given = None if self.masks[0] is None else np.concatenate(self.masks)
            entropy = self.ensembles.entropy(1.0)
            if given is None and np.isnan(entropy.value).any():
                entropy = self.ensembles.entropy(None)
            self.decisions = choose_decisions(entropy, self.ensembles.segments, given)
        return self.decisions


class _Batch:
    """Answers in groups, each with the ensembles of its tokens."""

    def __init__(self, evidences: Sequence[Evidence]) -> None:
        self._count = len(evidences)
        self._reasons = [_NO_TOKENS] * len(evidences)
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for row, evidence in enumerate(evidences):
            if not isinstance(evidence, Evidence):
                raise BadInput(f"an answer must be given as `Evidence`, got {format_value(evidence)}.")
            key, num_tokens = _describe_source(evidence)
            if key is None:
                self._reasons[row] = _NO_SOURCE
            elif num_tokens:
                groups[key, evidence.decision_mask is None].append(row)
        self._groups = [_build_group([evidences[row] for row in rows], rows) for rows in groups.values()]

    def compute(self, signal: NamedSignal) -> SignalColumn:
        """Return a signal that is aggregated over tokens."""
        assert signal.aggregation is not None
        ends = np.full((3, self._count), np.nan)
        reasons = list(self._reasons)
        for group in self._groups:
            values = group.values(signal)
            with np.errstate(invalid="ignore", over="ignore"):
                found = aggregate_tokens(
                    values, group.ensembles.segments, signal.aggregation, group.choose(signal.aggregation)
                )
            ends[:, group.rows] = found
            for row, value, low, high in zip(group.rows.tolist(), *(end.tolist() for end in found), strict=True):
                said = values.note if low < high else ""
                reasons[row] = said if value == value else values.reason or _TOO_SHORT
        statuses = [_status(*row) for row in ends.T.tolist()]
        value, lower, upper = ends
        return SignalColumn(value, lower, upper, statuses, reasons)


def _status(value: float, lower: float, upper: float) -> Status:
    return "none" if value != value else "exact" if lower == upper else "bounded"


def _describe_source(evidence: Evidence) -> tuple[Hashable | None, int]:
    """Return what answers must share to be evaluated together, None without tokens, and the number of tokens."""
    if evidence.trace is not None:
        if not isinstance(evidence.trace, Trace):
            raise BadInput(f"`trace` must be a `Trace`, got {format_value(evidence.trace)}.", param="trace")
        return column_key(evidence.trace), int(evidence.trace.scored_mask.sum())
    if evidence.top_logprobs is None:
        return None, 0
    if evidence.vocab_size is None:
        raise BadInput("`top_logprobs` needs `vocab_size`, the number of all tokens.", param="vocab_size")
    lists = _as_lists(evidence.top_logprobs)
    given = evidence.token_logprobs
    if given is not None and len(given) != len(lists):
        raise BadInput(
            f"`token_logprobs` must have one number for each of the {len(lists)} lists, got {len(given)}.",
            param="token_logprobs",
        )
    width = lists.shape[1] if len(lists) else 0
    return (evidence.vocab_size, width, str(lists.dtype), given is None), len(lists)


def _as_lists(top_logprobs: Any) -> NDArray[Any]:
    try:
        lists = np.asarray(top_logprobs)
        lists = lists if lists.dtype.kind == "f" else lists.astype(np.float64)
    except (TypeError, ValueError):
        lists = np.empty((1, 0, 0))
    if len(lists) and lists.ndim != 2:
        raise BadInput("`top_logprobs` must list equally many tokens at each position, (n, k).", param="top_logprobs")
    return lists


def _build_group(evidences: Sequence[Evidence], rows: list[int]) -> _Group:
    ensembles = _build_ensembles(evidences)
    masks = [_validate_mask(evidence) for evidence in evidences]
    return _Group(np.asarray(rows), ensembles, masks)


def _build_ensembles(evidences: Sequence[Evidence]) -> TokenEnsembles:
    first = evidences[0]
    if first.trace is not None:
        return RecordEnsembles([evidence.trace for evidence in evidences if evidence.trace is not None])
    lists = [_as_lists(evidence.top_logprobs) for evidence in evidences]
    given = None
    if first.token_logprobs is not None:
        given = np.concatenate([np.asarray(evidence.token_logprobs) for evidence in evidences])
        if np.isnan(given).any():
            raise BadInput("`token_logprobs` holds a NaN: give the log-probability of each token.")
    assert first.vocab_size is not None
    return ListEnsembles(np.concatenate(lists), first.vocab_size, [len(each) for each in lists], given)


def _validate_mask(evidence: Evidence) -> Any:
    """Return the decision tokens of an answer among those with a context; None where they are not given."""
    if evidence.decision_mask is None:
        return None
    mask = np.asarray(evidence.decision_mask, bool)
    count = len(evidence.trace) if evidence.trace is not None else len(evidence.top_logprobs)
    if mask.shape != (count,):
        raise BadInput(
            f"`decision_mask` must have one entry for each of the {count} tokens, got shape {mask.shape}.",
            param="decision_mask",
        )
    return mask if evidence.trace is None else mask[evidence.trace.scored_mask]
