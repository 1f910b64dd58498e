"""A trace: the records of one sequence, evaluated at any temperature without the model, and its files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import LogZ
from heatbath.errors import BadInput
from heatbath.record.detokenize import decode_pieces
from heatbath.record.provenance import Provenance
from heatbath.record.record import (
    CROSSED_PREFIX,
    DIVERGENCE_PREFIX,
    FIELD_ENERGY_PREFIX,
    KEPT_MASS_PREFIX,
    NODE_COLUMNS,
    PIPELINE_COLUMNS,
    THERMO_COLUMNS,
    WORK_PREFIX,
    Array,
    Record,
)
from heatbath.short_repr import MAX_TEXT, format_repr

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
_INTEGER_COLUMNS = ("sequence", "position", "token_id", "rank")


@dataclass(frozen=True, repr=False)
class Trace:
    """The records of one sequence of n tokens: `record` (n,), NaN for a token without context.

    Temperatures are those of the model's raw ensemble, before windows and fields. `token_to_bytes` maps a token id to
    its bytes; `sequence` numbers the sequence within a file.
    """

    tokens: Array
    positions: Array
    record: Record
    provenance: Provenance
    token_to_bytes: Callable[[int], bytes]
    sequence: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        values = {"tokens": len(self), "model": self.provenance.model}
        return format_repr("Trace", values, first=self.take(slice(MAX_TEXT + 1)).text)

    def _repr_html_(self) -> str:
        from heatbath.record.token_display import render_trace

        return render_trace(self)

    def take(self, rows: slice) -> Trace:
        """Return the trace of a slice of the tokens; a view of this one."""
        return replace(self, tokens=self.tokens[rows], positions=self.positions[rows], record=self.record.take(rows))

    @property
    def energies(self) -> Floats:
        """The raw energy of each token (n,), nats."""
        return self.record["energy"]

    @property
    def log_z(self) -> LogZ:
        """log Z as a function of beta, over (n,); its gauge is that of `energies`."""
        return self.record.nodes

    @property
    def temperature(self) -> Floats:
        """The temperature that each row was recorded at, (n,)."""
        return self.record["temperature"]

    @property
    def scored_mask(self) -> NDArray[np.bool_]:
        """Mask of the tokens that have a context, and therefore a record, (n,)."""
        return ~np.isnan(self.record["ground"])

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of each token."""
        return [self.token_to_bytes(int(token)) for token in self.tokens]

    @cached_property
    def token_texts(self) -> list[str]:
        """The text that each token adds; joined they are `text`. See `Utf8Decoder`."""
        return decode_pieces(self.token_bytes)

    @property
    def text(self) -> str:
        """The text of all tokens, decoded as one byte string."""
        return "".join(self.token_texts)

    def logprob(self, temperature: float | Floats) -> Floats:
        r"""\(\ln p_T(x) = -\beta E_x - \ln Z(\beta)\) of each token (n,), nats; NaN without a context.

        `temperature` is a scalar or (n,). Exact for the recorded energies at the row's own temperature and at the
        nodes, elsewhere within the stated bound, `log_z.error_bound(1 / temperature)`.

        Raises:
            BadInput: a temperature is negative, or outside [0.1, 3] and not the row's own.
        """
        return self._evaluate_at(temperature, "logprob", lambda beta: -beta * self.energies - self.log_z.log_z(beta))

    def entropy(self, temperature: float | Floats) -> Floats:
        r"""\(S = \ln Z + \beta U\) of each ensemble (n,), nats; between nodes of `log_z` between its values at them."""
        return self._evaluate_at(temperature, "entropy", lambda beta: self.log_z.entropy(beta))

    def heat_capacity(self, temperature: float | Floats) -> Floats:
        r"""\(C = \beta^2\,\mathrm{Var}\,E\) of each ensemble (n,), without a bound between nodes of `log_z`."""
        return self._evaluate_at(temperature, "heat_capacity", lambda beta: self.log_z.heat_capacity(beta))

    def _evaluate_at(self, temperature: float | Floats, name: str, compute: Callable[[Floats], Floats]) -> Floats:
        target = np.broadcast_to(np.asarray(temperature, dtype=np.float64), self.tokens.shape)
        if np.isnan(target).any() or (target < 0).any():
            raise BadInput(f"`temperature` must be at least 0, got {temperature}.")
        own = (target == self.temperature) | ~self.scored_mask
        if own.all():
            return self.record[name].copy()
        low, high = 1.0 / self.log_z.betas[-1], 1.0 / self.log_z.betas[0]
        outside = ~own & ((target < low * (1 - 1e-9)) | (target > high * (1 + 1e-9)))
        if outside.any():
            raise BadInput(
                f"`temperature` must be in [{low:.3g}, {high:.3g}] or the trace's own, got {target[outside][0]:g}: "
                "measure the text at that temperature."
            )
        beta = 1.0 / np.where(own, 1.0, target)
        return np.where(own, self.record[name], compute(beta))

    def to_table(self) -> pa.Table:
        """Return the trace as an Arrow table, one row per token, with schema version and fingerprint as metadata."""
        import pyarrow as pa

        from heatbath.record.schema import build_arrow_column, build_label_columns, build_metadata

        numbers = {"sequence": np.full(len(self), self.sequence), "position": self.positions, "token_id": self.tokens}
        columns = build_label_columns({**numbers, "text": self.token_texts, "bytes": self.token_bytes})
        missing = ~self.scored_mask
        columns |= {name: build_arrow_column(name, self.record[name], missing) for name in self.record}
        return pa.table(columns, metadata=build_metadata(self.provenance))

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """Yield one JSON-ready dict per token: the scalar columns, None where a number is missing or infinite.

        `logprob` is at T = 1, None where the record cannot say; the record's own column of that name, at the row's
        `temperature`, is `logprob_at_temperature`.
        """
        extras = [name for name in self.record if name in PIPELINE_COLUMNS or name.startswith(_PART_PREFIXES)]
        names = [*THERMO_COLUMNS, "temperature", *extras]
        columns = [self.record[name].tolist() for name in names]
        names = ["logprob_at_temperature" if name == "logprob" else name for name in names]
        plain = self._plain_logprob().tolist()
        for i, values in enumerate(zip(*columns, strict=True)):
            label = {"position": int(self.positions[i]), "token_id": int(self.tokens[i]), "text": self.token_texts[i]}
            label["logprob"] = _to_json_number("logprob", plain[i])
            yield label | {name: _to_json_number(name, value) for name, value in zip(names, values, strict=True)}

    def _plain_logprob(self) -> Floats:
        """Log-probability of each token at T = 1 (n,), NaN where neither its own temperature nor the nodes say it."""
        if NODE_COLUMNS[0] in self.record:
            return self.logprob(1.0)
        return np.where(self.temperature == 1.0, self.record["logprob"], np.nan)

    def to_jsonl(self) -> str:
        """Return the rows of `to_rows` as JSON lines."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.to_rows())

    def save(self, path: str | Path) -> None:
        """Write a Parquet file, whose name ends in .parquet; an error leaves no partial file.

        Raises:
            BadInput: the name has the suffix of another format.
            OSError: the folder is not writable, or the disk is full.
        """
        write_traces(path, [self])

    @classmethod
    def load(cls, path: str | Path, sequence: int | None = None) -> Trace:
        """Read the trace of a Parquet file, or the one numbered `sequence`.

        Raises:
            BadInput: the file holds no traces, or several of which `sequence` names none.
        """
        traces = {trace.sequence: trace for trace in read_traces(path)}
        if sequence is None and len(traces) == 1:
            return next(iter(traces.values()))
        if sequence not in traces:
            raise BadInput(
                f"`sequence` must be one of {_format_numbers(list(traces))}, the sequences of {path}, got {sequence}."
            )
        return traces[sequence]


def write_traces(path: str | Path, traces: Sequence[Trace]) -> None:
    """Write traces to one Parquet file, in their order; an error leaves no partial file.

    Raises:
        BadInput: there are no traces, or the name of the file has the suffix of another format.
        OSError: the folder is not writable, or the disk is full.
    """
    from heatbath.record.parquet import write_tables

    if not traces:
        raise BadInput(f"there is no trace to write to {path}: give at least one.")
    write_tables(Path(path), (trace.to_table() for trace in traces))


def read_traces(path: str | Path) -> list[Trace]:
    """Read the traces of a Parquet file, one per sequence.

    Raises:
        BadInput: the file does not exist, is not Parquet, or holds no traces.
    """
    from heatbath.record.parquet import read_table
    from heatbath.record.schema import parse_provenance, read_metadata, record_from_table

    table = read_table(path)
    provenance = parse_provenance(read_metadata(table.schema, path))
    tokens, positions, sequence = (table[name].to_numpy() for name in ("token_id", "position", "sequence"))
    token_bytes = dict(zip(tokens.tolist(), table["bytes"].to_pylist(), strict=True))
    record = record_from_table(table)
    return [
        Trace(
            tokens[i:j], positions[i:j], record.take(slice(i, j)), provenance, token_bytes.__getitem__, sequence=number
        )
        for number, i, j in _find_runs(sequence)
    ]


def _find_runs(sequence: Array) -> Iterator[tuple[int, int, int]]:
    """The value and the bounds of each run of equal values."""
    bounds = [0, *(np.flatnonzero(np.diff(sequence)) + 1).tolist(), len(sequence)]
    return ((int(sequence[i]), i, j) for i, j in pairwise(bounds) if j > i)


_PART_PREFIXES = (WORK_PREFIX, FIELD_ENERGY_PREFIX, KEPT_MASS_PREFIX, DIVERGENCE_PREFIX, CROSSED_PREFIX)


def _to_json_number(name: str, value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if name in _INTEGER_COLUMNS else value


def _format_numbers(numbers: list[int]) -> str:
    """The first five numbers, for a message."""
    first = ", ".join(map(str, numbers[:5]))
    return first + (", …" if len(numbers) > 5 else "")
