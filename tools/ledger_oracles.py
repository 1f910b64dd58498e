"""Compare the Merkle trees, proofs and witness client of heatbath with aics-tlog, aics-witness and pymerkle.

Usage: python tools/ledger_oracles.py PYTHON [LARGEST]

PYTHON is that of an environment made by tools/ledger_peers.sh. Every leaf and pair of sizes to 65, and random ones to
LARGEST, 1,000,000 by default.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from heatbath.ledger import Ledger, build_entry
from heatbath.ledger.merkle import hash_leaf, root_of
from heatbath.ledger.tiles import TILE_WIDTH, TileName, TileTree
from heatbath.ledger.witness_client import WITNESS_FILE

SMALL, SIZES, PROOFS = 65, 8, 40

PEERS = """
import json, sys
from aics_tlog import tree as aics
from pymerkle import InmemoryTree
from pymerkle.proof import verify_consistency, verify_inclusion
largest, counts = int(sys.argv[2]), {}
leaves = [str(i).encode() for i in range(largest)]
theirs = aics.MerkleTree(leaves)
peer = InmemoryTree(algorithm="sha256")
for leaf in leaves:
    peer.append_entry(leaf)
for line in open(sys.argv[1]):
    kind, first, size, old_root, root, proof = json.loads(line)
    old_root, root, proof = bytes.fromhex(old_root), bytes.fromhex(root), [bytes.fromhex(each) for each in proof]
    assert theirs.root(size) == peer.get_state(size) == root, (kind, first, size)
    if kind == "inclusion":
        leaf = aics.leaf_hash(leaves[first])
        assert theirs.inclusion_proof(first, size) == proof, (kind, first, size)
        assert aics.verify_inclusion(leaf, first, size, proof, root)
        assert not proof or not aics.verify_inclusion(leaf, first, size, proof[:-1], root)
        verify_inclusion(peer.get_leaf(first + 1), root, peer.prove_inclusion(first + 1, size))
    else:
        assert theirs.consistency_proof(first, size) == proof, (kind, first, size)
        assert aics.verify_consistency(first, size, old_root, root, proof)
        verify_consistency(old_root, root, peer.prove_consistency(first, size))
    counts[kind] = counts.get(kind, 0) + 1
print(json.dumps(counts))
"""


def main() -> None:
    """Compare trees and proofs, then the witness client."""
    python = sys.argv[1]
    largest = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proofs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in list_proofs(largest)), encoding="ascii")
        done = subprocess.run(
            [python, "-c", PEERS, str(path), str(largest)], check=True, capture_output=True, text=True
        )
        print(f"aics-tlog and pymerkle agree, proofs by kind: {done.stdout.strip()}, sizes to {largest:,}")
        print(f"aics-witness cosigned {compare_witness(python, Path(folder))} checkpoints")


def list_proofs(largest: int) -> Iterator[list[Any]]:
    """Yield kind, index or first size, size, root of the first size, root, and proof."""
    leaves = [hash_leaf(str(i).encode()) for i in range(largest)]

    @cache
    def level_hashes(level: int) -> list[bytes]:
        if level == 0:
            return leaves
        below = level_hashes(level - 1)
        ends = range(TILE_WIDTH, len(below) + 1, TILE_WIDTH)
        return [root_of(below[end - TILE_WIDTH : end]) for end in ends]

    def read_tile(name: TileName) -> list[bytes]:
        begin = name.index * TILE_WIDTH
        return level_hashes(int(name.level))[begin : begin + name.width]

    def build_row(kind: str, first: int, tree: TileTree) -> list[Any]:
        proof = tree.inclusion_proof(first) if kind == "inclusion" else tree.consistency_proof(first)
        old = TileTree(first, read_tile).root()
        return [kind, first, tree.size, old.hex(), tree.root().hex(), [each.hex() for each in proof]]

    for size in range(1, SMALL + 1):
        tree = TileTree(size, read_tile)
        yield from (build_row("inclusion", index, tree) for index in range(size))
        yield from (build_row("consistency", first, tree) for first in range(1, size + 1))
    rng = random.Random(0)
    for size in [largest, *(rng.randint(SMALL, largest) for _ in range(SIZES - 1))]:
        tree = TileTree(size, read_tile)
        yield from (build_row("inclusion", rng.randrange(size), tree) for _ in range(PROOFS))
        yield from (build_row("consistency", rng.randint(1, size), tree) for _ in range(PROOFS))


def compare_witness(python: str, folder: Path) -> int:
    """Have aics-witness cosign checkpoints of a log that grows; return how many it cosigned."""
    config, log = folder / "witness.json", folder / "log"
    command = [str(Path(python).with_name("aics-witness"))]
    listen = "127.0.0.1:18765"
    made = subprocess.run(
        [*command, "init", "--config", config, "--name", "witness.example/w1", "--listen", listen],
        check=True,
        capture_output=True,
        text=True,
    )
    key = made.stdout.strip().splitlines()[-1]
    with Ledger(log, "example.com/agent") as ledger:
        own = str(ledger.verifier_keys[0])
    subprocess.run(
        [*command, "add-log", "--config", config, "--origin", "example.com/agent", "--vkey", own],
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen([*command, "serve", "--config", config], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(int(listen.rpartition(":")[2]))
        (log / WITNESS_FILE).write_text(f"{key} http://{listen}\n", encoding="utf-8")
        with Ledger(log) as ledger:
            return sum(grow(ledger, count) for count in (1, 2, 250, 3, 300, 1))
    finally:
        server.terminate()
        server.wait()


def wait_for_port(port: int) -> None:
    """Wait until a server answers on loopback, a minute at most."""
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def grow(ledger: Ledger, count: int) -> bool:
    """Append entries and publish; return whether the witness cosigned."""
    ledger.append_many([build_entry({"n": i}) for i in range(count)])
    found = ledger.publish()
    for problem in ledger.witness_problems:
        print(problem)
    return bool(found.witnesses)


if __name__ == "__main__":
    main()
