"""A trace: the records of one sequence, and what they answer without the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
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
    PIPELINE_COLUMNS,
    THERMO_COLUMNS,
    WORK_PREFIX,
    Array,
    Record,
)

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
_INTEGER_COLUMNS = ("sequence", "position", "token_id", "rank")


@dataclass(frozen=True)
class Trace:
    """The records of one sequence of n tokens: `record` (n,), NaN where a token has nothing before it.

    Temperatures are those of the raw ensemble of the model: windows and fields are not in it.
    """

    tokens: Array
    positions: Array
    record: Record
    provenance: Provenance
    token_to_bytes: Callable[[int], bytes]
    sequence: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

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
        """The temperature each row was recorded at, (n,)."""
        return self.record["temperature"]

    @property
    def scored_mask(self) -> NDArray[np.bool_]:
        """Whether a token has something before it, so that it has a record, (n,)."""
        return ~np.isnan(self.record["ground"])

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of each token."""
        return [self.token_to_bytes(int(token)) for token in self.tokens]

    @cached_property
    def token_texts(self) -> list[str]:
        """What each token makes printable; joined they are `text`."""
        return decode_pieces(self.token_bytes)

    @property
    def text(self) -> str:
        """The text of all tokens, bytes joined first."""
        return "".join(self.token_texts)

    def logprob(self, temperature: float | Floats) -> Floats:
        r"""\(\ln p_T(x) = -\beta E_x - \ln Z(\beta)\) of each token (n,), nats; NaN where nothing stands before it.

        `temperature` is a scalar or (n,). Exact at the row's own temperature, else to the bound of `log_z`.

        Raises:
            BadInput: a temperature that is not the row's own lies outside [0.1, 3].
        """
        return self._evaluate_at(temperature, "logprob", lambda beta: -beta * self.energies - self.log_z.log_z(beta))

    def entropy(self, temperature: float | Floats) -> Floats:
        r"""\(S = \ln Z + \beta U\) of each ensemble (n,), nats; see `logprob`."""
        return self._evaluate_at(temperature, "entropy", lambda beta: self.log_z.entropy(beta))

    def heat_capacity(self, temperature: float | Floats) -> Floats:
        r"""\(C = \beta^2\,\mathrm{Var}\,E\) of each ensemble (n,); see `logprob`."""
        return self._evaluate_at(temperature, "heat_capacity", lambda beta: self.log_z.heat_capacity(beta))

    def _evaluate_at(self, temperature: float | Floats, name: str, compute: Callable[[Floats], Floats]) -> Floats:
        wanted = np.broadcast_to(np.asarray(temperature, dtype=np.float64), self.tokens.shape)
        if np.isnan(wanted).any() or (wanted < 0).any():
            raise BadInput(f"temperature is {temperature}: give a number from 0 up.")
        own = (wanted == self.temperature) | ~self.scored_mask
        if own.all():
            return self.record[name].copy()
        low, high = 1.0 / self.log_z.betas[-1], 1.0 / self.log_z.betas[0]
        outside = ~own & ((wanted < low * (1 - 1e-9)) | (wanted > high * (1 + 1e-9)))
        if outside.any():
            raise BadInput(
                f"temperature {wanted[outside][0]:g} is neither that of the trace nor in [{low:.3g}, {high:.3g}], "
                f"where a trace answers without the model: measure the text at that temperature."
            )
        beta = 1.0 / np.where(own, 1.0, wanted)
        return np.where(own, self.record[name], compute(beta))

    def to_table(self) -> pa.Table:
        """The trace as an Arrow table, one row a token; schema version and fingerprint are in its metadata."""
        import pyarrow as pa

        from heatbath.record.schema import build_arrow_column, build_label_columns, build_metadata

        who = {"sequence": np.full(len(self), self.sequence), "position": self.positions, "token_id": self.tokens}
        columns = build_label_columns({**who, "text": self.token_texts, "bytes": self.token_bytes})
        missing = ~self.scored_mask
        columns |= {name: build_arrow_column(name, self.record[name], missing) for name in self.record}
        return pa.table(columns, metadata=build_metadata(self.provenance))

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """One JSON-ready object a token: the scalar columns; null where a number is missing or infinite."""
        extras = [name for name in self.record if name in PIPELINE_COLUMNS or name.startswith(_PART_PREFIXES)]
        names = [*THERMO_COLUMNS, "temperature", *extras]
        columns = [self.record[name].tolist() for name in names]
        for i, values in enumerate(zip(*columns, strict=True)):
            label = {"position": int(self.positions[i]), "token_id": int(self.tokens[i]), "text": self.token_texts[i]}
            yield label | {name: _to_json_number(name, value) for name, value in zip(names, values, strict=True)}

    def to_jsonl(self) -> str:
        """`rows` as JSON lines."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.to_rows())

    def save(self, path: str | Path) -> None:
        """Write a Parquet file; nothing is left of it when that fails.

        Raises:
            OSError: the folder is not writable, or the disk is full.
        """
        from heatbath.record.parquet import write_traces

        write_traces(path, [self])

    @classmethod
    def load(cls, path: str | Path, sequence: int | None = None) -> Trace:
        """Read a Parquet file of one sequence, or one sequence of it.

        Raises:
            BadInput: the file holds no traces, or several and `sequence` is not one of them.
        """
        from heatbath.record.parquet import read_traces

        traces = {trace.sequence: trace for trace in read_traces(path)}
        if sequence is None and len(traces) == 1:
            return next(iter(traces.values()))
        if sequence not in traces:
            raise BadInput(
                f"{path} holds the sequences {_abbreviate_names(list(traces))}: name one of them, not {sequence}."
            )
        return traces[sequence]


_PART_PREFIXES = (WORK_PREFIX, FIELD_ENERGY_PREFIX, KEPT_MASS_PREFIX, DIVERGENCE_PREFIX, CROSSED_PREFIX)


def _to_json_number(name: str, value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if name in _INTEGER_COLUMNS else value


def _abbreviate_names(names: list[int]) -> str:
    shown = ", ".join(map(str, names[:5]))
    return shown + (", …" if len(names) > 5 else "")
