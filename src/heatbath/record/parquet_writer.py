"""Long traces to disk: finished parts beside the file, merged into it at the end, so that a stopped run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from heatbath.errors import BadInput
from heatbath.record.parquet import ROW_GROUP_SIZE, read_traces, write_tables
from heatbath.record.trace import Trace


class TraceWriter:
    """Writes pieces of traces to the Parquet file `path` in constant memory; use it in a `with` block.

    Finished parts lie in `path` + `.parts` until the block ends well; when it does not they stay, and `resume` goes on
    after the last row that is there, `done`. `run` says which run the parts belong to.

    Raises:
        BadInput: `resume` and the parts are those of another run; or parts are there and `resume` is not asked for.
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
                raise BadInput(f"{self._folder} holds an unfinished run: resume it, or remove that folder.")
            if json.loads(label.read_text()) != run_id:
                raise BadInput(f"{self._folder} holds the parts of another run: remove it, or give the same input.")
        self._folder.mkdir(exist_ok=True)
        label.write_text(json.dumps(run_id))

    def _list_parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))

    def _read_last_row(self) -> tuple[int, int]:
        """(sequence, position) of the last row on disk, (-1, -1) when there is none."""
        if not self._num_parts:
            return -1, -1
        last = pq.read_table(self._list_parts()[-1], columns=["sequence", "position"])
        return int(last["sequence"][-1].as_py()), int(last["position"][-1].as_py())

    def read_finished_traces(self) -> Iterator[Trace]:
        """What was already on disk when the writer opened, part by part."""
        for part in self._list_parts()[: self._num_parts]:
            yield from read_traces(part)

    def write(self, trace: Trace) -> None:
        """Add a piece; whole pieces go to disk together as soon as they fill a part."""
        self._tables.append(trace.to_table())
        if sum(map(len, self._tables)) >= ROW_GROUP_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write what is held as a part."""
        if self._tables:
            write_tables(self._folder / f"{self._num_parts:08d}.parquet", [pa.concat_tables(self._tables)])
            self._num_parts += 1
            self._tables = []

    def close(self) -> None:
        """Merge the parts into the file and remove them."""
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
