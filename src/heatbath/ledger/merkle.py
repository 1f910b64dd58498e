"""Merkle tree hashes of RFC 6962, and the verification of inclusion and consistency proofs.

Source: RFC 6962 and RFC 9162, section 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from heatbath.errors import BadInput

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves."""
MAX_SIZE = 1 << 63


class ProofInvalid(BadInput):
    """A proof that does not prove what it claims."""


def hash_leaf(entry: bytes) -> bytes:
    """Return the hash of a leaf, SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node, SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold_subtrees(hashes: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees that get smaller from left to right; the empty root for none."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = hash_node(left, root)
    return root


def reduce_pairs(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the parents of an even number of nodes."""
    return [hash_node(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree over some leaf hashes."""
    level, subtrees = list(leaf_hashes), []
    while level:
        if len(level) % 2:
            subtrees.append(level.pop())
        level = reduce_pairs(level)
    return fold_subtrees(subtrees[::-1])


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that a leaf is at `index` of the tree of `size` leaves with that root.

    Args:
        proof: hashes from the sibling of the leaf to the child of the root, 32 bytes each.

    Raises:
        ProofInvalid: it is not, or the proof is malformed.

    Source: RFC 9162, section 2.1.3.2.
    """
    _validate_hashes([leaf_hash, root, *proof])
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofInvalid(f"the proof is of entry {index} in a tree of {size}: the index must be below the size.")
    node, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the inclusion proof has more hashes than the tree has levels.")
        if node % 2 or node == last:
            found = hash_node(sibling, found)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hash_node(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid("the inclusion proof has fewer hashes than the tree has levels.")
    if found != root:
        raise ProofInvalid(f"the inclusion proof of entry {index} leads to another root than that of the checkpoint.")


def verify_consistency(size: int, new_size: int, root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify that the tree of `size` leaves is the beginning of that of `new_size`.

    Raises:
        ProofInvalid: it is not, or the proof is malformed; always for a first size of 0, which nothing contradicts.

    Source: RFC 9162, section 2.1.4.2.
    """
    _validate_hashes(proof)
    if not 0 < size <= new_size <= MAX_SIZE:
        raise ProofInvalid(f"a consistency proof from size {size} to {new_size}: the first must be 1 to the second.")
    if size == new_size:
        if proof:
            raise ProofInvalid("a consistency proof between equal sizes must be empty.")
        if root != new_root:
            raise ProofInvalid(f"two different roots for the same size of {size}: the log has been forked.")
        return
    _validate_hashes([root, new_root])
    old, new = _fold_consistency(size, new_size, list(proof) if size & (size - 1) else [root, *proof])
    if old != root or new != new_root:
        raise ProofInvalid(f"the tree of {size} entries is not the beginning of that of {new_size}.")


def _fold_consistency(size: int, new_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the roots of both trees that a consistency proof leads to."""
    if not path:
        raise ProofInvalid("the consistency proof is empty.")
    node, last = size - 1, new_size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("the consistency proof has more hashes than the tree has levels.")
        if node % 2 or node == last:
            old, new = hash_node(sibling, old), hash_node(sibling, new)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            new = hash_node(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid("the consistency proof has fewer hashes than the tree has levels.")
    return old, new


def _validate_hashes(hashes: Iterable[bytes]) -> None:
    for each in hashes:
        if len(each) != HASH_SIZE:
            raise ProofInvalid(f"a hash has {len(each)} bytes in place of {HASH_SIZE}.")
