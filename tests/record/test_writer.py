"""The writer: parts that survive a kill, one file at the end, nothing of it before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heatbath.engine import measure, measure_stream
from heatbath.errors import BadInput
from heatbath.models import UrnModel
from heatbath.record import Trace, TraceWriter

URN = UrnModel(1.0)
TEXT = "+-++-+--" * 30


def pieces(after: tuple[int, int] = (-1, -1)) -> Iterator[Trace]:
    return measure_stream(URN, [TEXT], context=16, after=after)


@pytest.mark.parametrize("killed_after", [0, 1, 7, 28])
def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int) -> None:
    """A killed process runs no `__exit__`: only what was flushed is there, and perhaps half a part."""
    monkeypatch.setattr("heatbath.record.parquet_writer.ROW_GROUP_SIZE", 20)
    path = tmp_path / "t.parquet"
    killed = TraceWriter(path, run_id="this").__enter__()
    for piece, _ in zip(pieces(), range(killed_after), strict=False):
        killed.write(piece)
    (tmp_path / "t.parquet.parts" / ".00000099.parquet.part").write_bytes(b"PAR1 half")
    with TraceWriter(path, run_id="this", resume=True) as writer:
        kept = sum(len(piece) for piece in writer.read_finished_traces())
        assert writer.last_row == ((0, kept - 1) if kept else (-1, -1))
        for piece in pieces(writer.last_row):
            writer.write(piece)
    assert Trace.load(path).to_table().equals(measure(URN, TEXT, context=16).to_table())
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_run_is_not_overwritten_nor_mixed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, run_id="this") as writer:
        writer.write(next(pieces()))
        raise KeyboardInterrupt
    with pytest.raises(BadInput, match="unfinished"):
        TraceWriter(path, run_id="this")
    with pytest.raises(BadInput, match="another run"):
        TraceWriter(path, run_id="that", resume=True)
    assert TraceWriter(path, run_id="this", resume=True).last_row == (0, 15)


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    measure(URN, "+-").save(path)
    with pytest.raises(RuntimeError), TraceWriter(path) as writer:
        writer.write(measure(URN, TEXT))
        raise RuntimeError
    assert Trace.load(path).text == "+-"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TraceWriter(tmp_path / "no" / "t.parquet")
