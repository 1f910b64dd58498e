"""Verification of a whole log: every changed bit is found and named, and so are cuts, forks and rewrites."""

from __future__ import annotations

import random
import shutil

import pytest

from heatbath.ledger import Ledger, build_entry
from heatbath.ledger.tiles import decode_entries, encode_entries
from heatbath.ledger.verification import verify_log

ORIGIN = "example.com/agent"
COUNT = 300


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log with several checkpoints; returns its folder and the notes of the checkpoints."""
    folder = tmp_path_factory.mktemp("ledger") / "log"
    notes = []
    with Ledger(folder, ORIGIN) as ledger:
        for begin in (0, 100, 270, 290):
            ledger.append_many(
                [build_entry({"n": begin + i}) for i in range({0: 100, 100: 170, 270: 20, 290: 10}[begin])]
            )
            notes.append(str(ledger.publish().note))
    return folder, notes


@pytest.fixture
def copy(log, tmp_path):
    shutil.copytree(log[0], tmp_path / "log")
    return tmp_path / "log"


def verify(folder, **how):
    with Ledger(folder) as ledger:
        return verify_log(ledger.storage, ledger.verifier_keys, **how)


def test_an_intact_log(log):
    folder, notes = log
    report = verify(folder, seen=notes)
    assert report.findings == []
    assert (report.entries, report.seen, report.unpublished) == (COUNT, 4, [])
    assert sorted(path.name for path in (folder / "public" / "tile" / "entries").iterdir()) == ["000", "001.p"]


def list_places(folder):
    return [(path, at) for path in sorted(folder.rglob("*")) if path.is_file() for at in range(path.stat().st_size)]


def find_unnoticed(folder, places):
    """Flip one bit at each place in turn; return those that verification does not find in that file."""
    public, missed = folder / "public", []
    with Ledger(folder) as ledger:
        for path, at, bit in places:
            before = path.read_bytes()
            path.write_bytes(before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :])
            findings = verify_log(ledger.storage, ledger.verifier_keys).findings
            path.write_bytes(before)
            name = path.relative_to(public).as_posix()
            if not any(name in str(each) or name.rpartition(".p/")[0] in str(each) for each in findings):
                missed.append((name, at, bit))
    return missed


def test_changed_bits_are_found_and_named(copy):
    rng = random.Random(0)
    places = [(path, at, rng.randrange(8)) for path, at in rng.sample(list_places(copy / "public"), 60)]
    places += [(copy / "public" / "checkpoint", at, 0) for at in range(0, 150, 5)]
    assert find_unnoticed(copy, places) == []


@pytest.mark.slow
def test_every_changed_bit_is_found_and_named(copy):
    places = [(path, at, bit) for path, at in list_places(copy / "public") for bit in range(8)]
    assert find_unnoticed(copy, places) == []


@pytest.mark.parametrize(
    "path", ["checkpoint", "tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/1/000.p/1"]
)
@pytest.mark.parametrize("change", ["remove", "cut", "lengthen", "empty"])
def test_files_that_are_missing_cut_or_longer_are_found(copy, path, change):
    file = copy / "public" / path
    content = file.read_bytes()
    if change == "remove":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-1], "lengthen": content + b"\0" * 32, "empty": b""}[change])
    assert any(path in str(each) for each in verify(copy).findings)


def test_a_foreign_file_is_named(copy):
    (copy / "public" / "tile" / "0" / "note.txt").write_text("hello")
    assert [str(each) for each in verify(copy).findings] == ["tile/0/note.txt: it is not a file of a log."]


def rebuild(folder, bodies):
    """Write a new log of the same key over other entries."""
    shutil.rmtree(folder / "public")
    for file in folder.glob("ledger.db*"):
        file.unlink()
    key = (folder / "ledger.key").read_text()
    (folder / "ledger.key").unlink()
    with Ledger(folder, ORIGIN):
        (folder / "ledger.key").write_text(key)
    with Ledger(folder) as ledger:
        ledger.append_many([build_entry(each) for each in bodies])
        ledger.publish()


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ([{"n": i} for i in range(COUNT - 1)], "was cut"),
        ([{"n": i} for i in range(COUNT + 10)], "rewritten or forked"),
        ([{"n": COUNT - i} for i in range(COUNT)], "rewritten or forked"),
    ],
)
def test_a_rewrite_with_the_key_is_found_by_a_checkpoint_kept_elsewhere_alone(copy, log, bodies, words):
    rebuild(copy, bodies)
    assert verify(copy).is_intact
    assert any(words in str(each) for each in verify(copy, seen=log[1][-1:]).findings)


def test_checkpoints_of_other_logs_are_refused(copy, tmp_path):
    with Ledger(tmp_path / "other", "example.com/other") as other:
        other.append({"a": 1})
        note = str(other.publish().note)
    assert "no key of that name" in str(verify(copy, seen=[note]).findings[0])
    (copy / "public" / "checkpoint").write_text(note)
    assert "no key of that name" in str(verify(copy).findings[0])


def test_swapped_entries_are_found(copy):
    path = copy / "public" / "tile" / "entries" / "000"
    entries = decode_entries(path.read_bytes())
    entries[3], entries[7] = entries[7], entries[3]
    path.write_bytes(encode_entries(entries))
    found = [str(each) for each in verify(copy).findings]
    assert [each.split()[2] for each in found if each.startswith("tile/0/000: hash")] == ["3", "7"]


def test_tiles_of_a_killed_process_are_not_damage(copy):
    (copy / "public" / "tile" / "0" / "001.p" / "45").write_bytes(b"\0" * 45 * 32)
    report = verify(copy)
    assert report.is_intact
    assert report.unpublished == ["tile/0/001.p/45"]
