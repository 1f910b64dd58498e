"""What a model has read before, kept as trees of tokens: one tree a salt, keys and values along its edges.

Sequences that begin alike share what they share; what was used longest ago is dropped first, from the leaves.
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
    """An edge and what hangs below it: `tokens` (n,) and their keys and values (L, 2, heads, n, D)."""

    tokens: Ints
    values: torch.Tensor
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)


class PrefixCache:
    """At most `limit` bytes of keys and values; entries of one salt are invisible under another."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._roots: dict[bytes, _Node] = {}
        self._salts: dict[_Node, bytes] = {}
        self._lru_nodes: OrderedDict[_Node, None] = OrderedDict()
        self.bytes = 0

    def find(self, tokens: Sequence[int], salt: bytes) -> list[torch.Tensor]:
        """Keys and values of the longest known prefix of `tokens`, in pieces (L, 2, heads, n, D) in order."""
        wanted, found = np.asarray(tokens, np.int64), []
        path = self._match_path(wanted, salt)
        for node, count in path:
            found.append(node.values[..., :count, :])
        self._mark_used([node for node, _ in path])
        return found

    def add(self, tokens: Sequence[int], values: torch.Tensor, salt: bytes) -> None:
        """Keep `values` (L, 2, heads, n, D) of `tokens` (n,), if they fit: only what is not yet known is copied."""
        wanted = np.asarray(tokens, np.int64)
        if not len(wanted) or values.numel() * values.element_size() > self._max_bytes:
            return
        path = self._match_path(wanted, salt)
        known = sum(count for _, count in path)
        if path and path[-1][1] < len(path[-1][0].tokens) and known < len(wanted):
            path[-1] = (self._split_node(*path[-1]), path[-1][1])
        nodes = [node for node, _ in path]
        if known < len(wanted):
            nodes.append(
                self._append_child(
                    nodes[-1] if nodes else self._get_or_create_root(salt), wanted[known:], values[..., known:, :]
                )
            )
        self._mark_used(nodes)
        self._evict()

    def _match_path(self, tokens: Ints, salt: bytes) -> list[tuple[_Node, int]]:
        """Nodes from the root down that agree with `wanted`, each with how many of its tokens do."""
        path: list[tuple[_Node, int]] = []
        node, done = self._roots.get(salt), 0
        while node is not None and done < len(tokens):
            node = node.children.get(int(tokens[done]))
            if node is None:
                break
            count = common_prefix_length(node.tokens, tokens[done:])
            path.append((node, count))
            done += count
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
        """Cut an edge after `count` tokens; the upper part. Both are copied, or neither could ever be freed."""
        assert node.parent is not None
        tokens, values = node.tokens, node.values
        upper = _Node(tokens[:count], values[..., :count, :].clone(), node.parent)
        node.parent.children[int(tokens[0])] = upper
        upper.children[int(tokens[count])] = node
        node.tokens, node.values, node.parent = tokens[count:], values[..., count:, :].clone(), upper
        self._lru_nodes[upper] = None
        return upper

    def _mark_used(self, path: Sequence[_Node]) -> None:
        """Mark as used, the upper after the lower: then the one used longest ago is always a leaf."""
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
    """How many tokens two sequences have in common at their beginnings."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if differ.size else length


def _node_bytes(node: _Node) -> int:
    return node.values.numel() * node.values.element_size() + node.tokens.nbytes
