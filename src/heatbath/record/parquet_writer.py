"""A resumable writer of long traces: parts beside the file, merged into it at the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from heatbath.errors import BadInput
from heatbath.record.output_files import atomic_write, validate_suffix
from heatbath.record.parquet import ROW_GROUP_SIZE, has_run_mark, mark_run, remove_run_mark, write_tables
from heatbath.record.trace import Trace, read_traces


class TraceWriter:
    """A context manager that writes pieces of traces to the Parquet file `path` in constant memory.

    Parts are kept in the folder `path` + `.parts` until the block ends without an error, and are then merged into
    `path`. After an error they stay: with `resume`, writing continues after `last_row`, the (sequence, position) of
    the last row on disk. `run_id` names the run that the parts belong to; it is in the folder's `run.json` and in each
    part. With `discard`, parts of an earlier run are removed.

    Raises:
        BadInput: the path has the suffix of another format, or parts exist, and neither `resume` nor `discard` is true
            or they are not those of this run.
        OSError: the folder is not writable, or the disk is full.
    """

    def __init__(self, path: str | Path, *, run_id: str = "", resume: bool = False, discard: bool = False) -> None:
        self._path = Path(path)
        validate_suffix(self._path, "Parquet")
        self._folder = self._path.with_name(self._path.name + ".parts")
        self._run_id = run_id
        self._tables: list[pa.Table] = []
        if discard:
            self._remove_parts()
        self._validate_parts(resume)
        if not self._label.exists():
            self._create_folder()
        self._num_parts = len(self._list_parts())
        self.last_row = self._read_last_row()

    def _create_folder(self) -> None:
        self._folder.mkdir(exist_ok=True)
        try:
            with atomic_write(self._label) as temporary:
                temporary.write_text(json.dumps(self._run_id), encoding="utf-8")
        except OSError:
            self._remove_parts()
            raise

    @property
    def _label(self) -> Path:
        return self._folder / "run.json"

    def _validate_parts(self, resume: bool) -> None:
        """Check that what is in the folder is of this run."""
        if not self._label.exists():
            # A folder without a label may be anything; one that a killed run has just created is empty.
            if any(not path.name.endswith(".part") for path in self._iterate_folder()):
                raise BadInput(f"{self._folder} holds files but no run.json that says of which run: remove the folder.")
            return
        if not resume:
            raise BadInput(f"{self._folder} holds an unfinished run: resume it, or remove the folder.")
        if self._read_label() != self._run_id:
            raise BadInput(f"{self._folder} belongs to another run: remove the folder, or give the same input.")
        for number, part in enumerate(self._list_parts()):
            if part != self._part_path(number) or not has_run_mark(part, self._name_part(number)):
                raise BadInput(f"{part} is not the part {number} of this run: remove the folder {self._folder}.")

    def _read_label(self) -> object:
        try:
            return json.loads(self._label.read_text(encoding="utf-8"))
        except ValueError:
            raise BadInput(
                f"{self._label} is damaged, so that its parts may be of any run: remove the folder {self._folder}."
            ) from None

    def _iterate_folder(self) -> Iterator[Path]:
        return self._folder.iterdir() if self._folder.is_dir() else iter(())

    def _list_parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))

    def _part_path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.parquet"

    def _name_part(self, number: int) -> str:
        return json.dumps([self._run_id, number])

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
            table = mark_run(pa.concat_tables(self._tables), self._name_part(self._num_parts))
            write_tables(self._part_path(self._num_parts), [table])
            self._num_parts += 1
            self._tables = []

    def close(self) -> None:
        """Merge the parts into the file, and remove them."""
        self.flush()
        if self._num_parts:
            write_tables(self._path, self._read_merged_groups())
        self._remove_parts()

    def _read_merged_groups(self) -> Iterator[pa.Table]:
        for part in self._list_parts():
            yield from map(remove_run_mark, _read_row_groups(part))

    def _remove_parts(self) -> None:
        """Remove what the writer made; the folder stays if there is anything else in it."""
        for path in [*self._list_parts(), self._label, *self._folder.glob(".*.part")]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

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
                self._remove_parts()


def _read_row_groups(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)
