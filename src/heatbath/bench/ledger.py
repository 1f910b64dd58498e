"""A ledger: entries a second with a checkpoint each second, proofs, verification of a million entries, storage.

The tree of a million entries is compared with one that pymerkle makes and verifies in its own environment
(`tools/ledger_peers.sh FOLDER`), since its licence is not ours.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line, upper_limit_line
from heatbath.errors import HeatbathError

PEER_VARIABLE = "HEATBATH_BENCH_LEDGER_PEERS"
"""Environment variable with the Python of an environment that `tools/ledger_peers.sh` makes."""

ORIGIN = "bench.example/log"
MILLION = 1_000_000
SECONDS = 10.0
CALLS = 300
ENTRIES_AT_ONCE = 256

_VERIFY = """
import resource, sys, time
from heatbath.ledger.tile_storage import TileFolder
from heatbath.ledger.signed_note import parse_verifier_key
from heatbath.ledger.verification import verify_log
start = time.perf_counter()
report = verify_log(TileFolder(__import__("pathlib").Path(sys.argv[1])), [parse_verifier_key(sys.argv[2])])
assert report.is_intact, report.findings[:3]
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_PEER = """
import sys, time
from pathlib import Path
from pymerkle import InmemoryTree
bodies = []
for path in sorted(Path(sys.argv[1]).rglob("*"), key=lambda each: each.as_posix().replace(".p", "")):
    if path.is_file():
        content, at = path.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at:at + 2], "big")
            bodies.append(content[at + 2:at + 2 + length])
            at += 2 + length
start = time.perf_counter()
tree = InmemoryTree(algorithm="sha256")
for body in bodies:
    tree.append_entry(body)
assert tree.get_state().hex() == sys.argv[2], "the peer made another tree"
print(time.perf_counter() - start)
"""


def lines() -> Iterator[BenchmarkLine]:
    """Measure a ledger against its targets."""
    with tempfile.TemporaryDirectory(prefix="heatbath-bench-") as folder:
        rate = measure_rate(Path(folder) / "rate")
        yield lower_limit_line("entries a second, a checkpoint each second", rate, limit=5000, unit="entries/s")
        yield from measure_large(Path(folder) / "large")


def build_decision(number: int) -> dict[str, Any]:
    """Return the data of an entry as a server writes it, about 700 bytes."""
    return {
        "request": {"id": f"chatcmpl-{number:032x}", "digest": f"{number:064x}"},
        "model": {"name": "smollm2-135m", "fingerprint": "c0ffee" * 10},
        "settings": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64},
        "seed": number,
        "record": {
            "digest": f"{number * 7:064x}",
            "tokens": 48,
            "logprob": -31.0625 - number / 7,
            "entropy": 1.71,
            "heat_capacity": 2.5,
            "log_z": 12.125,
            "gauge": "energies of the model",
        },
        "confidence": {"value": (number % 1000) / 1000, "source": "calibrator"},
        "phase": {"flag": "ordered"},
        "gate": {"verdict": "pass", "rules": []},
    }


def measure_rate(folder: Path) -> float:
    """Return entries a second that four threads append durably while a fifth publishes each second."""
    from heatbath.ledger import Ledger, build_entry

    counts, done = [0] * 4, threading.Event()
    with Ledger(folder, ORIGIN) as ledger:

        def append(place: int) -> None:
            while not done.is_set():
                first = place * 10**9 + counts[place]
                ledger.append_many(
                    [build_entry(build_decision(first + i), kind="decision") for i in range(ENTRIES_AT_ONCE)]
                )
                counts[place] += ENTRIES_AT_ONCE

        threads = [threading.Thread(target=append, args=(place,)) for place in range(len(counts))]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            time.sleep(min(1 - elapsed % 1, SECONDS - elapsed))
            ledger.publish()
        done.set()
        for thread in threads:
            thread.join()
        published = ledger.publish().checkpoint.size
        elapsed = time.perf_counter() - start
    if published != sum(counts):
        raise HeatbathError(f"{sum(counts)} entries were appended and {published} are published.")
    return published / elapsed


def measure_large(folder: Path) -> Iterator[BenchmarkLine]:
    """Measure proofs, storage and verification of a log of a million entries."""
    from heatbath.ledger import Ledger, build_entry

    with Ledger(folder, ORIGIN) as ledger:
        bodies = 0
        for begin in range(0, MILLION, 4000):
            entries = [build_entry({"n": begin + i}) for i in range(4000)]
            bodies += sum(len(entry.encode()) for entry, _ in entries) if begin == 0 else 0
            ledger.append_many(entries)
            if begin % 100_000 == 0:
                ledger.publish()
        root = ledger.publish().checkpoint.root
        yield from _measure_proofs(ledger)
        key = str(ledger.verifier_keys[0])
    published = _measure_size(folder / "public") / MILLION
    database = _measure_size(folder, "ledger.db*") / MILLION
    body = bodies / 4000
    yield upper_limit_line("files a log adds to an entry", published - body, limit=40, unit="bytes")
    yield upper_limit_line("database an entry takes for its number", database, limit=120, unit="bytes")
    yield from _measure_verification(folder / "public", key, root)


def _measure_proofs(ledger: Any) -> Iterator[BenchmarkLine]:
    from heatbath.ledger import parse_proof
    from heatbath.ledger.merkle import hash_leaf

    made, verified = [], []
    for call in range(CALLS):
        number = call * 7919 % MILLION
        start = time.perf_counter()
        proof = str(ledger.prove(number))
        made.append(time.perf_counter() - start)
        leaf = hash_leaf(ledger.read_body(number))
        start = time.perf_counter()
        parse_proof(proof).verify(leaf, ledger.verifier_keys)
        verified.append(time.perf_counter() - start)
    yield upper_limit_line("proof over a million entries, made", statistics.median(made), limit=2e-3, unit="s")
    yield upper_limit_line("proof over a million entries, verified", statistics.median(verified), limit=5e-4, unit="s")


def _measure_verification(public: Path, key: str, root: bytes) -> Iterator[BenchmarkLine]:
    seconds, peak = map(float, _call(sys.executable, _VERIFY, str(public), key))
    small = _make_small(public.parent.parent / "small")
    _, small_peak = map(float, _call(sys.executable, _VERIFY, *small))
    yield upper_limit_line(
        "memory of verify, a million entries against ten thousand",
        peak / 1024,
        small_peak / 1024,
        limit=1.1,
        unit="MiB",
    )
    if python := os.environ.get(PEER_VARIABLE):
        (theirs,) = map(float, _call(python, _PEER, str(public / "tile" / "entries"), root.hex()))
        yield lower_limit_line(
            "verify a million entries, against pymerkle", MILLION / seconds, MILLION / theirs, limit=3, unit="entries/s"
        )


def _make_small(folder: Path) -> tuple[str, str]:
    """Make a log of ten thousand entries; return its published folder and its key."""
    from heatbath.ledger import Ledger, build_entry

    with Ledger(folder, ORIGIN) as ledger:
        ledger.append_many([build_entry({"n": i}) for i in range(10_000)])
        ledger.publish()
        return str(folder / "public"), str(ledger.verifier_keys[0])


def _call(python: str, program: str, *arguments: str) -> list[str]:
    done = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise HeatbathError(f"a process of the benchmark failed: {done.stderr.strip().splitlines()[-1][:200]}.")
    return done.stdout.split()


def _measure_size(folder: Path, pattern: str = "**/*") -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())
