"""A cache of keys and values by prefix: one tree of tokens per salt, with keys and values along its edges.

Sequences share the edges of their common prefix. The least recently used leaves are dropped first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]


@dataclass(eq=False)
class _Node:
    """An edge and its subtree: `tokens` (n,), and `values`, their keys and values (L, 2, heads, n, D)."""

    tokens: Ints
    values: torch.Tensor
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)


class PrefixCache:
    """A cache of at most `max_bytes` of keys and values; entries of one salt are invisible under another."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._roots: dict[bytes, _Node] = {}
        self._salts: dict[_Node, bytes] = {}
        self._lru_nodes: OrderedDict[_Node, None] = OrderedDict()
        self.bytes = 0

    def find(self, tokens: Sequence[int], salt: bytes) -> list[torch.Tensor]:
        """Return keys and values of the longest cached prefix of `tokens`, as segments (L, 2, heads, n, D) in order."""
        path = self._match_path(np.asarray(tokens, np.int64), salt)
        self._mark_used([node for node, _ in path])
        return [node.values[..., :count, :] for node, count in path]

    def add(self, tokens: Sequence[int], values: torch.Tensor, salt: bytes) -> None:
        """Store `values` (L, 2, heads, n, D) of `tokens` (n,) if they fit; only the part not yet cached is copied."""
        ids = np.asarray(tokens, np.int64)
        if not len(ids) or values.numel() * values.element_size() > self._max_bytes:
            return
        path = self._match_path(ids, salt)
        matched = sum(count for _, count in path)
        if path and path[-1][1] < len(path[-1][0].tokens) and matched < len(ids):
            path[-1] = (self._split_node(*path[-1]), path[-1][1])
        nodes = [node for node, _ in path]
        if matched < len(ids):
            parent = nodes[-1] if nodes else self._get_or_create_root(salt)
            nodes.append(self._append_child(parent, ids[matched:], values[..., matched:, :]))
        self._mark_used(nodes)
        self._evict()

    def _match_path(self, tokens: Ints, salt: bytes) -> list[tuple[_Node, int]]:
        """Return the nodes from the root down that match `tokens`, each with the number of its matching tokens."""
        path: list[tuple[_Node, int]] = []
        node, matched = self._roots.get(salt), 0
        while node is not None and matched < len(tokens):
            node = node.children.get(int(tokens[matched]))
            if node is None:
                break
            count = common_prefix_length(node.tokens, tokens[matched:])
            path.append((node, count))
            matched += count
            if count < len(node.tokens):
                break
        return path

    def _get_or_create_root(self, salt: bytes) -> _Node:
        if salt not in self._roots:
            self._roots[salt] = _Node(np.empty(0, np.int64), torch.empty(0), None)
            self._salts[self._roots[salt]] = salt
        return self._roots[salt]

    def _append_child(self, parent: _Node, tokens: Ints, values: torch.Tensor) -> _Node:
        node = _Node(tokens.copy(), values.clone(), parent)
        parent.children[int(tokens[0])] = node
        self.bytes += _node_bytes(node)
        return node

    def _split_node(self, node: _Node, count: int) -> _Node:
        """Split an edge after `count` tokens; return the upper part. Both are copied: views would hold the memory."""
        assert node.parent is not None
        tokens, values = node.tokens, node.values
        upper = _Node(tokens[:count], values[..., :count, :].clone(), node.parent)
        node.parent.children[int(tokens[0])] = upper
        upper.children[int(tokens[count])] = node
        node.tokens, node.values, node.parent = tokens[count:], values[..., count:, :].clone(), upper
        self._lru_nodes[upper] = None
        return upper

    def _mark_used(self, path: Sequence[_Node]) -> None:
        """Mark nodes as used, parents after children, so that the least recently used one is always a leaf."""
        for node in reversed(path):
            self._lru_nodes[node] = None
            self._lru_nodes.move_to_end(node)

    def _evict(self) -> None:
        while self.bytes > self._max_bytes:
            leaf, _ = self._lru_nodes.popitem(last=False)
            self.bytes -= _node_bytes(leaf)
            assert leaf.parent is not None and not leaf.children
            del leaf.parent.children[int(leaf.tokens[0])]
            if leaf.parent.parent is None and not leaf.parent.children:
                del self._roots[self._salts.pop(leaf.parent)]


def common_prefix_length(a: Ints, b: Ints) -> int:
    """Return the length of the common prefix of two sequences."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if differ.size else length


def _node_bytes(node: _Node) -> int:
    return node.values.numel() * node.values.element_size() + node.tokens.nbytes
