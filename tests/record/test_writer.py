"""The writer: parts that survive a kill, one file at the end, nothing of it before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def interrupt(path: Path, run_id: str = "this", text: str = TEXT) -> Path:
    """Leave the parts of an interrupted run, and return their folder."""
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, run_id=run_id) as writer:
        writer.write(measure(URN, text))
        raise KeyboardInterrupt
    return path.with_name(path.name + ".parts")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda parts: (parts / "run.json").unlink(), "no run.json"),
        (lambda parts: (parts / "run.json").write_text(""), "run.json is damaged|unfinished"),
        (lambda parts: (parts / "run.json").write_text('"this'), "run.json is damaged|unfinished"),
        (lambda parts: (parts / "run.json").write_text("[]"), "another run|unfinished"),
    ],
)
def test_parts_that_may_be_of_any_run_are_refused(
    tmp_path: Path, spoil: Callable[[Path], object], words: str, resume: bool
) -> None:
    path = tmp_path / "t.parquet"
    parts = interrupt(path)
    spoil(parts)
    before = sorted(parts.iterdir())
    with pytest.raises(BadInput, match=words):
        TraceWriter(path, run_id="this", resume=resume)
    assert sorted(parts.iterdir()) == before and not path.exists()


@pytest.mark.parametrize("change", ["of another run", "without a run", "damaged", "missing"])
def test_a_resume_proves_that_each_part_is_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr("heatbath.record.parquet_writer.ROW_GROUP_SIZE", 1)
    path = tmp_path / "t.parquet"
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, run_id="this") as writer:
        for piece, _ in zip(pieces(), range(3), strict=False):
            writer.write(piece)
        raise KeyboardInterrupt
    first = tmp_path / "t.parquet.parts" / "00000000.parquet"
    if change == "of another run":
        other = interrupt(tmp_path / "other.parquet", "that", "--")
        (other / "00000000.parquet").replace(first)
    elif change == "without a run":
        measure(URN, "--").save(first)
    elif change == "damaged":
        first.write_bytes(first.read_bytes()[:-100])
    else:
        first.unlink()
    with pytest.raises(BadInput, match=r"0000000\d\.parquet (is not the part 0|cannot be read)"):
        TraceWriter(path, run_id="this", resume=True)


def test_discarded_parts_leave_nothing_in_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parts = interrupt(path)
    (parts / "run.json").unlink()
    with TraceWriter(path, run_id="that", discard=True) as writer:
        assert writer.last_row == (-1, -1)
        writer.write(measure(URN, "--"))
    assert Trace.load(path).text == "--" and list(tmp_path.iterdir()) == [path]


def test_files_of_others_in_the_folder_are_not_removed(tmp_path: Path) -> None:
    parts = tmp_path / "t.parquet.parts"
    parts.mkdir()
    (parts / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match=r"no run\.json"):
        TraceWriter(tmp_path / "t.parquet")
    (parts / "mine.txt").unlink()
    with TraceWriter(tmp_path / "t.parquet") as writer:
        (parts / "mine.txt").write_text("keep")
        writer.write(measure(URN, "--"))
    assert (parts / "mine.txt").read_text() == "keep" and Trace.load(tmp_path / "t.parquet").text == "--"


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.html", "t", "t.parquet.gz", "t.parquet2"])
def test_parquet_is_not_written_under_the_name_of_another_format(tmp_path: Path, name: str) -> None:
    for write in (TraceWriter, measure(URN, "--").save):
        with pytest.raises(BadInput, match=r"Parquet files end in \.parquet"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "T.PARQUET", "a b.c.parquet"])
def test_names_of_parquet_files(tmp_path: Path, name: str) -> None:
    measure(URN, "--").save(tmp_path / name)
    assert Trace.load(tmp_path / name).text == "--"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TraceWriter(tmp_path / "no" / "t.parquet")
