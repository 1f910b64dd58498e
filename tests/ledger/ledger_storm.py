"""A storm: processes of several threads append to one ledger while they are killed at random, and are started again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

from heatbath.ledger import Ledger, build_entry
from heatbath.ledger.verification import read_all_entries, verify_log

PROCESSES, THREADS = 8, 6
ORIGIN = "example.com/storm"


def name_entry(worker: int, thread: int, i: int) -> str:
    return f"{worker:04x}{thread:04x}{i:024x}"


def work(folder: Path, url: str | None, worker: int, per_thread: int) -> None:
    """Append the entries of one process, from the first that is not acknowledged on, and publish now and then."""
    done = threading.Event()
    with Ledger(folder / "log", url=url) as ledger:
        threads = [
            threading.Thread(target=append, args=(ledger, folder / f"{worker}-{thread}", worker, thread, per_thread))
            for thread in range(THREADS)
        ]
        publisher = threading.Thread(target=publish, args=(ledger, done))
        for thread in [publisher, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        publisher.join()


def append(ledger: Ledger, file: Path, worker: int, thread: int, count: int) -> None:
    acknowledged = len(read_lines(file))
    batch = random.Random(file.name)
    with file.open("ab", buffering=0) as written:
        while acknowledged < count:
            numbers = range(acknowledged, min(count, acknowledged + batch.randint(1, 40)))
            entries = [build_entry({"n": i}, entry_id=name_entry(worker, thread, i)) for i in numbers]
            receipts = ledger.append_many(entries)
            written.write("".join(f"{each.id} {each.number}\n" for each in receipts).encode())
            acknowledged += len(receipts)


def read_lines(file: Path) -> list[str]:
    """Return the whole lines of a file, to which a kill may have written the beginning of one."""
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(file, len(whole))
    return whole.decode().splitlines()


def publish(ledger: Ledger, done: threading.Event) -> None:
    while not done.wait(0.3):
        ledger.publish()


def run_storm(folder: Path, total: int, *, url: str | None = None, kills: int, seed: int = 0) -> None:
    """Append `total` entries with `kills` kills, and check that none is lost, none doubled and nothing forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["heatbath.ledger.ledger"])
    Ledger(folder / "log", ORIGIN, url=url).close()
    per_thread = -(-total // (PROCESSES * THREADS))

    def start(worker: int) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=work, args=(folder, url, worker, per_thread))
        process.start()
        return process

    rng, seen, killed = random.Random(seed), [], 0
    processes = [start(worker) for worker in range(PROCESSES)]
    while any(process.is_alive() for process in processes):
        time.sleep(rng.uniform(0.05, 0.4))
        note = folder / "log" / "public" / "checkpoint"
        if url is None and note.exists():
            seen.append(note.read_text(encoding="utf-8"))
        worker = rng.randrange(PROCESSES)
        if killed < kills and processes[worker].is_alive():
            os.kill(processes[worker].pid, signal.SIGKILL)
            processes[worker].join()
            killed += 1
            processes[worker] = start(worker)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert killed > 0
    check_storm(folder, per_thread, url=url, seen=seen)


def check_storm(folder: Path, per_thread: int, *, url: str | None, seen: list[str]) -> None:
    with Ledger(folder / "log", url=url) as ledger:
        found = ledger.publish()
        report = verify_log(ledger.storage, ledger.verifier_keys, seen=list(dict.fromkeys(seen))[::7])
        assert report.findings == []
        numbers: dict[str, int] = {}

        def note_id(number: int, entry_id: str) -> None:
            assert entry_id not in numbers, f"entry {entry_id} is there twice"
            numbers[entry_id] = number

        from heatbath.ledger import parse_entry

        for number, body in read_all_entries(ledger.storage, found.checkpoint.size):
            note_id(number, parse_entry(body).id)
        expected = {
            name_entry(worker, thread, i)
            for worker in range(PROCESSES)
            for thread in range(THREADS)
            for i in range(per_thread)
        }
        assert set(numbers) == expected
        for worker in range(PROCESSES):
            for thread in range(THREADS):
                for line in read_lines(folder / f"{worker}-{thread}"):
                    entry_id, number = line.split()
                    assert numbers[entry_id] == int(number)
