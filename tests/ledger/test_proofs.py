"""Inclusion and consistency proofs: published vectors, every small tree, random large ones, and altered proofs."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.ledger.merkle import (
    EMPTY_ROOT,
    ProofInvalid,
    hash_leaf,
    hash_node,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from heatbath.ledger.tiles import TILE_WIDTH, TileName, TileTree

VECTORS = json.loads(Path(__file__).with_name("proof_vectors.json").read_text(encoding="utf-8"))
LEAVES = [hash_leaf(str(i).encode()) for i in range(70_000)]


def define_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, by recursion."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hash_node(define_root(leaves[:middle]), define_root(leaves[middle:]))


@cache
def level_hashes(level: int) -> list[bytes]:
    """Hashes of the full tiles of the level below."""
    if level == 0:
        return LEAVES
    below = level_hashes(level - 1)
    return [root_of(below[at : at + TILE_WIDTH]) for at in range(0, len(below) // TILE_WIDTH * TILE_WIDTH, TILE_WIDTH)]


def read_tile(name: TileName) -> list[bytes]:
    assert isinstance(name.level, int)
    begin = name.index * TILE_WIDTH
    return level_hashes(name.level)[begin : begin + name.width]


def decode(vector: dict[str, object], *names: str) -> list[bytes]:
    return [base64.b64decode(str(vector[name] or "")) for name in names]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda each: each["name"])
def test_published_inclusion_proofs(vector):
    leaf, root = decode(vector, "leafHash", "root")
    proof = [base64.b64decode(each) for each in vector["proof"] or ()]
    if vector["wantErr"]:
        with pytest.raises(ProofInvalid):
            verify_inclusion(vector["leafIdx"], vector["treeSize"], leaf, proof, root)
    else:
        verify_inclusion(vector["leafIdx"], vector["treeSize"], leaf, proof, root)


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda each: each["name"])
def test_published_consistency_proofs(vector):
    root, new_root = decode(vector, "root1", "root2")
    proof = [base64.b64decode(each) for each in vector["proof"] or ()]
    if vector["wantErr"]:
        with pytest.raises(ProofInvalid):
            verify_consistency(vector["size1"], vector["size2"], root, new_root, proof)
    else:
        verify_consistency(vector["size1"], vector["size2"], root, new_root, proof)


def test_every_leaf_and_pair_of_sizes_to_65():
    roots = [define_root(LEAVES[:size]) for size in range(66)]
    for size in range(1, 66):
        tree = TileTree(size, read_tile)
        assert tree.root() == roots[size] == root_of(LEAVES[:size])
        for index in range(size):
            verify_inclusion(index, size, LEAVES[index], tree.inclusion_proof(index), roots[size])
        for first in range(1, size + 1):
            verify_consistency(first, size, roots[first], roots[size], tree.consistency_proof(first))


@given(st.integers(1, len(LEAVES)), st.data())
def test_proofs_of_any_size(size, data):
    tree = TileTree(size, read_tile)
    root = tree.root()
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    verify_inclusion(index, size, LEAVES[index], tree.inclusion_proof(index), root)
    verify_consistency(first, size, TileTree(first, read_tile).root(), root, tree.consistency_proof(first))


@given(st.integers(2, 3000), st.data())
def test_an_altered_proof_is_refused(size, data):
    tree = TileTree(size, read_tile)
    root, index = tree.root(), data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index)
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != index))
    for altered in (
        (index, size, LEAVES[index], [*proof[:place], flipped, *proof[place + 1 :]]),
        (index, size, LEAVES[index], [*proof[:place], *proof[place + 1 :]]),
        (index, size, LEAVES[index], [*proof, root]),
        (other, size, LEAVES[index], proof),
        (index, size, LEAVES[other], proof),
        (index, size, LEAVES[index][:31], proof),
        (size, size, LEAVES[index], proof),
    ):
        with pytest.raises(ProofInvalid):
            verify_inclusion(*altered, root)


def test_proofs_outside_the_tree_are_refused():
    tree = TileTree(5, read_tile)
    with pytest.raises(BadInput, match="no entry 5 in a tree of 5"):
        tree.inclusion_proof(5)
    for first in (0, 6):
        with pytest.raises(BadInput, match="first size of 1 to 5"):
            tree.consistency_proof(first)
    assert TileTree(0, read_tile).root() == EMPTY_ROOT
