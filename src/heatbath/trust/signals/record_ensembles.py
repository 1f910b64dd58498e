"""Token ensembles from the records of traces.

The columns of a record are exact at the temperature of its row. At other temperatures log Z comes from the nodes, with
the bound of their interpolation, and entropy lies between its values at the neighbouring nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import NODE_BETAS
from heatbath.errors import NotANumber
from heatbath.record import NODE_COLUMNS, UNIFORM_COLUMNS, Record, Trace, concatenate
from heatbath.trust.signals.base import Floats
from heatbath.trust.signals.token_ensembles import TokenEnsembles
from heatbath.trust.signals.token_values import Segments, TokenValues

NODE_ERROR = 2e-5
"""Error of log Z and S at a node, nats: the density of states and single precision."""
TOP_NODE = float(NODE_BETAS[-1])


class RecordEnsembles(TokenEnsembles):
    """The ensembles of traces whose records have the same columns; tokens without a context are left out."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        parts = [_take_scored(trace) for trace in traces]
        lengths = np.asarray([part.shape[0] for part in parts], np.int64)
        some = [part for part in parts if part.shape[0]]
        self.segments = Segments(lengths[lengths > 0])
        self._record = concatenate(some) if len(some) > 1 else some[0]
        _validate_columns(self._record, self.segments)
        missing = np.full(self.count, np.nan)
        self._temperature: Floats = self._record.columns.get("temperature", missing)
        self._has_nodes = NODE_COLUMNS[0] in self._record
        self._log_z_at = cache(self._compute_log_z)
        self._entropy_at = cache(self._compute_entropy)
        self._ground_at = cache(self._compute_ground)
        self._powers_at = cache(self._compute_powers)

    def logprob(self, temperature: float | None) -> TokenValues:
        own = self._own(temperature)
        if own.all():
            return TokenValues.exact(np.minimum(self._record["logprob"], 0.0))
        log_z = self._log_z_at(temperature)
        energy = self._record["energy"] / (temperature or math.nan)
        ends = (np.minimum(-energy - end, 0.0) for end in (log_z.value, log_z.upper, log_z.lower))
        value, low, high = (self._prefer(own, "logprob", end) for end in ends)
        return TokenValues(value, low, high, log_z.reason)

    def entropy(self, temperature: float | None) -> TokenValues:
        return self._entropy_at(temperature)

    def _compute_entropy(self, temperature: float | None) -> TokenValues:
        own = self._own(temperature)
        if own.all():
            return TokenValues.exact(np.maximum(self._record["entropy"], 0.0))
        reason = self._explain_gap(temperature)
        if reason:
            return self._fill_gap(own, "entropy", reason)
        beta, nodes = 1.0 / (temperature or math.nan), self._record.nodes
        low, high = nodes.entropy_bounds(beta)
        ends = (nodes.entropy(beta), np.maximum(low - NODE_ERROR, 0.0), high + NODE_ERROR)
        value, low, high = (self._prefer(own, "entropy", np.maximum(end, 0.0)) for end in ends)
        return TokenValues(value, low, high)

    def heat_capacity(self, temperature: float | None) -> TokenValues:
        own = self._own(temperature)
        if own.all():
            return TokenValues.exact(self._record["heat_capacity"])
        reason = self._explain_gap(temperature)
        if reason:
            return self._fill_gap(own, "heat_capacity", reason)
        value = self._record.nodes.heat_capacity(1.0 / (temperature or math.nan))
        ends = (value, np.zeros(self.count), np.full(self.count, np.inf))
        value, low, high = (self._prefer(own, "heat_capacity", end) for end in ends)
        return TokenValues(value, low, high, note="interpolated between nodes, which leaves no bound")

    def log_z(self, temperature: float | None) -> TokenValues:
        return self._log_z_at(temperature)

    def _compute_log_z(self, temperature: float | None) -> TokenValues:
        own = self._own(temperature)
        if own.all():
            log_z = self._record["log_z"]
            if np.isfinite(log_z).all():
                return TokenValues.exact(log_z)
            known = np.where(np.isfinite(log_z), log_z, np.nan)
            return TokenValues(known, known, known, "log Z at T = 0 is infinite")
        reason = self._explain_gap(temperature)
        if reason:
            return self._fill_gap(own, "log_z", reason)
        beta, nodes = 1.0 / (temperature or math.nan), self._record.nodes
        value, error = nodes.log_z(beta), nodes.error_bound(beta) + NODE_ERROR
        value, low, high = (self._prefer(own, "log_z", end) for end in (value, value - error, value + error))
        return TokenValues(value, low, high)

    def ground_surprisal(self, temperature: float | None) -> TokenValues:
        return self._ground_at(temperature)

    def _compute_ground(self, temperature: float | None) -> TokenValues:
        own = self._own(temperature)
        if own.all():
            return TokenValues.exact(self._own_surprisal())
        log_z = self._log_z_at(temperature)
        shift = self._record["ground"] / (temperature or math.nan)
        ends = (np.maximum(end + shift, 0.0) for end in (log_z.value, log_z.lower, log_z.upper))
        value, low, high = (np.where(own, self._own_surprisal(), end) for end in ends)
        return TokenValues(value, low, high, log_z.reason)

    def uniform_surprisal(self) -> TokenValues:
        if UNIFORM_COLUMNS[1] not in self._record:
            return TokenValues.missing(self.count, "the trace lacks the mean energy over the vocabulary")
        above = self._record[UNIFORM_COLUMNS[1]] - self._record["ground"]
        ground = self.ground_surprisal(1.0)
        if ground.is_exact:
            return TokenValues.exact(ground.value + above)
        return TokenValues(ground.value + above, ground.lower + above, ground.upper + above, ground.reason)

    def log_count(self) -> TokenValues:
        if UNIFORM_COLUMNS[0] not in self._record:
            return TokenValues.missing(self.count, "the trace lacks the number of possible tokens")
        return TokenValues.exact(self._record[UNIFORM_COLUMNS[0]])

    def power_sum(self, order: float) -> TokenValues:
        return self._powers_at(order)

    def _compute_powers(self, order: float) -> TokenValues:
        reason = self._explain_gap(1.0 / order)
        if reason:
            return TokenValues.missing(self.count, reason)
        nodes = self._record.nodes
        if order == TOP_NODE:
            value, error = np.asarray(nodes.log_z_k[..., -1], np.float64), np.asarray(NODE_ERROR)
        else:
            value = np.maximum(nodes.log_z(order) + order * self._record["ground"], 0.0)
            error = nodes.error_bound(order) + NODE_ERROR
        return TokenValues(value, np.maximum(value - error, 0.0), value + error)

    def excess_energy(self) -> TokenValues:
        return TokenValues.exact(np.maximum(self._record["energy"] - self._record["ground"], 0.0))

    def margin(self) -> TokenValues:
        largest = self.p_max(1.0)
        low, high = self._second_share(largest)
        ends = largest.lower * (1.0 - high), largest.upper * (1.0 - low)
        if "rank" in self._record:
            # Both are one number at most where the token is the second most probable one.
            second, ours = self._record["rank"] == 2, self.logprob(1.0)
            exact = np.exp(-self.excess_energy().value)
            ends = (
                np.where(second, largest.lower * (1.0 - exact), ends[0]),
                np.where(second, largest.upper * (1.0 - exact), ends[1]),
            )
            beyond = self._record["rank"] > 2
            ends = ends[0], np.where(beyond, np.minimum(ends[1], largest.upper - np.exp(ours.lower)), ends[1])
        return TokenValues.interval(*map(np.asarray, ends), reason=largest.reason)

    def spilled_energy(self, temperature: float | None) -> TokenValues:
        log_z = self._log_z_at(temperature)
        own = self._temperature if temperature is None else np.full(self.count, temperature)
        with np.errstate(divide="ignore", invalid="ignore"):
            energy = self._record["energy"] / own
        present = np.ones(self.count, bool)
        present[self.segments.starts + self.segments.lengths - 1] = False
        value, low, high = (energy + np.append(each[1:], np.nan) for each in (log_z.value, log_z.lower, log_z.upper))
        return TokenValues(value, low, high, log_z.reason, present=present)

    def _second_share(self, largest: TokenValues) -> tuple[Floats, Floats]:
        r"""Bound \(p_2 / p_1\), from the others together and from \(\sum_v (p_v / p_1)^q\) at the top node."""
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = np.zeros(self.count), np.minimum(1.0, 1.0 / largest.lower - 1.0)
            if self._has_nodes:
                powers = self.power_sum(TOP_NODE)
                rest_low, rest_high = np.expm1(powers.lower), np.expm1(powers.upper)
                others = 1.0 / largest.lower - 1.0
                high = np.minimum(high, rest_high ** (1.0 / TOP_NODE))
                found = np.where(rest_low > 0.0, (rest_low / others) ** (1.0 / (TOP_NODE - 1.0)), 0.0)
                low = np.clip(np.nan_to_num(found), 0.0, high)
        return low, high

    def _own(self, temperature: float | None) -> NDArray[np.bool_]:
        """Mask of the tokens whose columns are at this temperature."""
        if temperature is None:
            return ~np.isnan(self._temperature)
        return np.asarray(self._temperature == temperature)

    def _own_surprisal(self) -> Floats:
        """log Z above the ground at the temperature of each token."""
        if "p_max" not in self._record:
            return np.full(self.count, np.nan)
        return np.asarray(-np.log(np.clip(self._record["p_max"], 1e-300, 1.0)))

    def _prefer(self, own: NDArray[np.bool_], name: str, other: Floats) -> Floats:
        return np.where(own, self._record[name], other) if own.any() else other

    def _fill_gap(self, own: NDArray[np.bool_], name: str, reason: str) -> TokenValues:
        value = self._prefer(own, name, np.full(self.count, np.nan))
        return TokenValues(value, value, value, reason)

    def _explain_gap(self, temperature: float | None) -> str:
        """Return why the nodes do not reach a temperature; empty where they do."""
        if temperature is None:
            return "the trace has no temperature of its own"
        if not self._has_nodes:
            kept = np.unique(self._temperature)
            return f"the trace was kept at T = {kept[0]:g} without nodes, so that T = {temperature:g} is not known"
        low, high = 1.0 / NODE_BETAS[-1], 1.0 / NODE_BETAS[0]
        if not low * (1 - 1e-9) <= temperature <= high * (1 + 1e-9):
            return f"the nodes of the trace are at T from {low:.3g} to {high:.3g}, and T = {temperature:g} is outside"
        return ""


def column_key(trace: Trace) -> frozenset[str]:
    """Return what traces must have in common to be evaluated together."""
    known = {"temperature", "p_max", "rank", NODE_COLUMNS[0], *UNIFORM_COLUMNS}
    return frozenset(known & set(trace.record))


_USED_COLUMNS = (
    "energy", "logprob", "log_z", "entropy", "heat_capacity", "ground", "p_max", "rank", "temperature",
    *NODE_COLUMNS, *UNIFORM_COLUMNS,
)  # fmt: skip


def _take_scored(trace: Trace) -> Record:
    mask = trace.scored_mask
    record = trace.record if mask.all() else trace.record.take(mask)
    return Record({name: record[name] for name in _USED_COLUMNS if name in record})


def _validate_columns(record: Record, segments: Segments) -> None:
    """Raise `NotANumber` for a NaN, naming column, answer and token."""
    for name in record:
        column: Any = record[name]
        bad = np.isnan(column).reshape(len(column), -1).any(1)
        if bad.any():
            token = int(np.flatnonzero(bad)[0])
            answer = int(segments.answers[token])
            raise NotANumber(
                f"the trace of answer {answer} holds NaN in `{name}` at its token {token - segments.starts[answer]}: "
                "measure the text again."
            )
