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
    above: _Node | None
    below: dict[int, _Node] = field(default_factory=dict)


class Prefixes:
    """At most `limit` bytes of keys and values; entries of one salt are invisible under another."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._roots: dict[bytes, _Node] = {}
        self._salts: dict[_Node, bytes] = {}
        self._used: OrderedDict[_Node, None] = OrderedDict()
        self.bytes = 0

    def find(self, tokens: Sequence[int], salt: bytes) -> list[torch.Tensor]:
        """Keys and values of the longest known prefix of `tokens`, in pieces (L, 2, heads, n, D) in order."""
        wanted, found = np.asarray(tokens, np.int64), []
        path = self._path(wanted, salt)
        for node, count in path:
            found.append(node.values[..., :count, :])
        self._touch([node for node, _ in path])
        return found

    def add(self, tokens: Sequence[int], values: torch.Tensor, salt: bytes) -> None:
        """Keep `values` (L, 2, heads, n, D) of `tokens` (n,), if they fit: only what is not yet known is copied."""
        wanted = np.asarray(tokens, np.int64)
        if not len(wanted) or values.numel() * values.element_size() > self._limit:
            return
        path = self._path(wanted, salt)
        known = sum(count for _, count in path)
        if path and path[-1][1] < len(path[-1][0].tokens) and known < len(wanted):
            path[-1] = (self._split(*path[-1]), path[-1][1])
        nodes = [node for node, _ in path]
        if known < len(wanted):
            nodes.append(self._hang(nodes[-1] if nodes else self._root(salt), wanted[known:], values[..., known:, :]))
        self._touch(nodes)
        self._shrink()

    def _path(self, wanted: Ints, salt: bytes) -> list[tuple[_Node, int]]:
        """Nodes from the root down that agree with `wanted`, each with how many of its tokens do."""
        path: list[tuple[_Node, int]] = []
        node, done = self._roots.get(salt), 0
        while node is not None and done < len(wanted):
            node = node.below.get(int(wanted[done]))
            if node is None:
                break
            count = common(node.tokens, wanted[done:])
            path.append((node, count))
            done += count
            if count < len(node.tokens):
                break
        return path

    def _root(self, salt: bytes) -> _Node:
        if salt not in self._roots:
            self._roots[salt] = _Node(np.empty(0, np.int64), torch.empty(0), None)
            self._salts[self._roots[salt]] = salt
        return self._roots[salt]

    def _hang(self, above: _Node, tokens: Ints, values: torch.Tensor) -> _Node:
        node = _Node(tokens.copy(), values.clone(), above)
        above.below[int(tokens[0])] = node
        self.bytes += _size(node)
        return node

    def _split(self, node: _Node, count: int) -> _Node:
        """Cut an edge after `count` tokens; the upper part. Both are copied, or neither could ever be freed."""
        assert node.above is not None
        tokens, values = node.tokens, node.values
        upper = _Node(tokens[:count], values[..., :count, :].clone(), node.above)
        node.above.below[int(tokens[0])] = upper
        upper.below[int(tokens[count])] = node
        node.tokens, node.values, node.above = tokens[count:], values[..., count:, :].clone(), upper
        self._used[upper] = None
        return upper

    def _touch(self, path: Sequence[_Node]) -> None:
        """Mark as used, the upper after the lower: then the one used longest ago is always a leaf."""
        for node in reversed(path):
            self._used[node] = None
            self._used.move_to_end(node)

    def _shrink(self) -> None:
        while self.bytes > self._limit:
            leaf, _ = self._used.popitem(last=False)
            self.bytes -= _size(leaf)
            assert leaf.above is not None and not leaf.below
            del leaf.above.below[int(leaf.tokens[0])]
            if leaf.above.above is None and not leaf.above.below:
                del self._roots[self._salts.pop(leaf.above)]


def common(a: Ints, b: Ints) -> int:
    """How many tokens two sequences have in common at their beginnings."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if differ.size else length


def _size(node: _Node) -> int:
    return node.values.numel() * node.values.element_size() + node.tokens.nbytes
