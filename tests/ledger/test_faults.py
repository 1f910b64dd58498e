"""Faults: an error, and a kill, at every file operation of a publish; full disks; keys and databases that are gone."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from datetime import UTC, datetime

import pytest

from heatbath.errors import BadInput, HeatbathError
from heatbath.ledger import Ledger, build_entry, entry
from heatbath.ledger.entry_queue import QueueUnusable
from heatbath.ledger.key_file import KEY_FILE
from heatbath.ledger.publisher import PublishFailed
from heatbath.ledger.tile_storage import FileOperations
from heatbath.ledger.tree_tail import LogDamaged
from heatbath.ledger.verification import verify_log

ORIGIN = "example.com/agent"
PUBLISHED, ADDED = 250, 20


class FaultyOperations(FileOperations):
    """Fails at one operation: it writes the first half of a file, or does nothing else."""

    def __init__(self, at: int, fail) -> None:
        self.at, self.fail, self.count = at, fail, 0

    def is_due(self) -> bool:
        self.count += 1
        return self.count == self.at

    def make_folder(self, folder):
        self.fail() if self.is_due() else super().make_folder(folder)

    def write_temporary(self, path, content):
        if self.is_due():
            path.write_bytes(content[: len(content) // 2])
            self.fail()
        else:
            super().write_temporary(path, content)

    def rename(self, temporary, path):
        self.fail() if self.is_due() else super().rename(temporary, path)

    def sync_folder(self, folder):
        self.fail() if self.is_due() else super().sync_folder(folder)

    def remove(self, path):
        self.fail() if self.is_due() else super().remove(path)


def run_out_of_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A ledger with entries that are not published, over the end of a tile."""
    folder = tmp_path_factory.mktemp("faults") / "log"
    with Ledger(folder, ORIGIN) as ledger:
        ledger.append_many([build_entry({"n": i}) for i in range(PUBLISHED)])
        ledger.publish()
        ledger.append_many([build_entry({"n": PUBLISHED + i}) for i in range(ADDED)])
    return folder


@pytest.fixture
def folder(base, tmp_path):
    shutil.copytree(base, tmp_path / "log")
    return tmp_path / "log"


def recover(folder, before):
    """Reopen, append and publish; everything is there, in its order, and continues the earlier checkpoints."""
    with Ledger(folder) as ledger:
        seen = [before, str(ledger.checkpoint().note)]
        assert ledger.append({"n": PUBLISHED + ADDED}).number == PUBLISHED + ADDED
        ledger.publish()
        report = verify_log(ledger.storage, ledger.verifier_keys, seen=seen)
        assert (report.findings, report.entries, report.seen) == ([], PUBLISHED + ADDED + 1, 2)
        assert [ledger.read_entry(n).data["n"] for n in range(240, 271)] == list(range(240, 271))


def count_operations(folder):
    operations = FaultyOperations(0, None)
    with Ledger(folder, operations=operations) as ledger:
        ledger.publish()
    return operations.count


@pytest.fixture(scope="module")
def operation_count(base, tmp_path_factory):
    copy = tmp_path_factory.mktemp("count") / "log"
    shutil.copytree(base, copy)
    return count_operations(copy)


def list_copies(base, tmp_path, count):
    for at in range(1, count + 1):
        copy = tmp_path / str(at)
        shutil.copytree(base, copy)
        yield at, copy, (copy / "public" / "checkpoint").read_text(encoding="utf-8")
        shutil.rmtree(copy)


def test_a_full_disk_at_every_file_operation(base, tmp_path, operation_count):
    assert operation_count > 20
    for at, copy, before in list_copies(base, tmp_path, operation_count):
        with Ledger(copy, operations=FaultyOperations(at, run_out_of_space)) as ledger:
            with pytest.raises(PublishFailed, match="No space left"):
                ledger.publish()
            assert verify_log(ledger.storage, ledger.verifier_keys, seen=[before]).findings == []
        recover(copy, before)


def test_a_kill_at_every_file_operation(base, tmp_path, operation_count):
    for at, copy, before in list_copies(base, tmp_path, operation_count):
        if (child := os.fork()) == 0:
            Ledger(copy, operations=FaultyOperations(at, kill_this_process)).publish()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        with Ledger(copy) as ledger:
            assert verify_log(ledger.storage, ledger.verifier_keys, seen=[before]).findings == []
        recover(copy, before)


def test_a_database_that_cannot_grow_appends_all_or_nothing(folder):
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        acknowledged = 0
        with Ledger(folder) as ledger:
            limit = (folder / "ledger.db").stat().st_size + 200_000
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                for _ in range(100):
                    acknowledged = ledger.append_many([build_entry({"text": "x" * 2000}) for _ in range(10)])[-1].number
            except QueueUnusable:
                os.write(write_end, str(acknowledged).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        acknowledged = int(file.read())
    with Ledger(folder) as ledger:
        assert acknowledged >= PUBLISHED + ADDED
        assert ledger.publish().checkpoint.size == acknowledged + 1
        assert verify_log(ledger.storage, ledger.verifier_keys).findings == []


def test_a_clock_that_is_set_back_changes_no_order(folder, monkeypatch):
    class EarlyClock(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(2001, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(entry, "datetime", EarlyClock)
    with Ledger(folder) as ledger:
        receipt = ledger.append({"n": "early"})
        ledger.publish()
        assert receipt.number == PUBLISHED + ADDED
        assert ledger.read_entry(receipt.number).time == "2001-01-01T00:00:00.000Z"
        assert verify_log(ledger.storage, ledger.verifier_keys).findings == []


def test_a_key_that_is_gone_while_a_ledger_is_open(folder):
    with Ledger(folder) as ledger:
        key = (folder / KEY_FILE).read_text()
        (folder / KEY_FILE).unlink()
        with pytest.raises(BadInput, match="cannot be read"):
            ledger.publish()
        (folder / KEY_FILE).mkdir()
        with pytest.raises(BadInput, match="cannot be read"):
            ledger.publish()
        (folder / KEY_FILE).rmdir()
        (folder / KEY_FILE).write_text(key)
        assert ledger.publish().checkpoint.size == PUBLISHED + ADDED


def test_a_key_file_that_cannot_be_read(folder, monkeypatch):
    (folder / KEY_FILE).unlink()
    (folder / KEY_FILE).mkdir()
    with pytest.raises(BadInput, match="cannot be read"):
        Ledger(folder)


def test_a_database_that_lost_entries_is_refused_and_gives_no_number_twice(folder):
    with Ledger(folder) as ledger:
        ledger.publish()
    for path in folder.glob("ledger.db*"):
        path.unlink()
    before = (folder / "public" / "checkpoint").read_bytes()
    with pytest.raises(LogDamaged, match="0 entries and 270 are published"):
        Ledger(folder)
    assert (folder / "public" / "checkpoint").read_bytes() == before


def test_a_cut_tile_is_refused_before_anything_is_signed(folder):
    path = folder / "public" / "tile" / "entries" / "000.p" / "250"
    path.write_bytes(path.read_bytes()[:-7])
    before = (folder / "public" / "checkpoint").read_bytes()
    with Ledger(folder) as ledger, pytest.raises(HeatbathError):
        ledger.publish()
    assert (folder / "public" / "checkpoint").read_bytes() == before
