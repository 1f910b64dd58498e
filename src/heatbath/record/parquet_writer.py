"""A resumable writer of long traces: parts beside the file, merged into it at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from heatbath.errors import BadInput
from heatbath.record.parquet import ROW_GROUP_SIZE, write_tables
from heatbath.record.trace import Trace, read_traces


class TraceWriter:
    """A context manager that writes pieces of traces to the Parquet file `path` in constant memory.

    Parts are kept in the folder `path` + `.parts` until the block ends without an error, and are then merged into
    `path`. After an error they stay: with `resume`, writing continues after `last_row`, the (sequence, position) of
    the last row on disk. `run_id` names the run that the parts belong to.

    Raises:
        BadInput: parts exist, and `resume` is false or they belong to another run.
        OSError: the folder is not writable, or the disk is full.
    """

    def __init__(self, path: str | Path, *, run_id: str = "", resume: bool = False) -> None:
        self._path = Path(path)
        self._folder = self._path.with_name(self._path.name + ".parts")
        self._tables: list[pa.Table] = []
        self._prepare(run_id, resume)
        self._num_parts = len(self._list_parts())
        self.last_row = self._read_last_row()

    def _prepare(self, run_id: str, resume: bool) -> None:
        label = self._folder / "run.json"
        if label.exists():
            if not resume:
                raise BadInput(f"{self._folder} holds an unfinished run: resume it, or remove the folder.")
            if json.loads(label.read_text()) != run_id:
                raise BadInput(f"{self._folder} belongs to another run: remove the folder, or give the same input.")
        self._folder.mkdir(exist_ok=True)
        label.write_text(json.dumps(run_id))

    def _list_parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))

    def _read_last_row(self) -> tuple[int, int]:
        """The (sequence, position) of the last row on disk, (-1, -1) if there is none."""
        if not self._num_parts:
            return -1, -1
        last = pq.read_table(self._list_parts()[-1], columns=["sequence", "position"])
        return int(last["sequence"][-1].as_py()), int(last["position"][-1].as_py())

    def read_finished_traces(self) -> Iterator[Trace]:
        """Yield the traces that were on disk when the writer was opened, part by part."""
        for part in self._list_parts()[: self._num_parts]:
            yield from read_traces(part)

    def write(self, trace: Trace) -> None:
        """Add a piece of a trace; pieces are written together as soon as they fill a part."""
        self._tables.append(trace.to_table())
        if sum(map(len, self._tables)) >= ROW_GROUP_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write the buffered pieces as a part."""
        if self._tables:
            write_tables(self._folder / f"{self._num_parts:08d}.parquet", [pa.concat_tables(self._tables)])
            self._num_parts += 1
            self._tables = []

    def close(self) -> None:
        """Merge the parts into the file, and remove them."""
        self.flush()
        if self._num_parts:
            write_tables(self._path, self._read_merged_groups())
        shutil.rmtree(self._folder)

    def _read_merged_groups(self) -> Iterator[pa.Table]:
        for part in self._list_parts():
            yield from _read_row_groups(part)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
            elif not isinstance(error, OSError):
                self.flush()
        finally:
            if not self._num_parts:
                shutil.rmtree(self._folder, ignore_errors=True)


def _read_row_groups(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)
