"""A cache of automaton states by token prefix, so that continuations of a prefix start from its state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from heatbath.errors import BadInput

S = TypeVar("S")


class PrefixMemo(Generic[S]):
    """A least-recently-used cache of at most `size` states of an automaton, by the tokens that lead to them.

    `extend(state, tokens)` returns the state after more tokens and must not change the state it is given: rows are
    forked, dropped and reopened, so any prefix may come again. A new prefix costs the tokens after its longest cached
    prefix, one token while rows grow. The root is always there. Raises `BadInput` for a size below 1.
    """

    def __init__(self, root: S, extend: Callable[[S, Sequence[int]], S], *, size: int = 1024) -> None:
        if size < 1:
            raise BadInput(f"`size` of a memo must be at least 1, got {size}.")
        self.root, self.extend, self.size = root, extend, size
        self._states: OrderedDict[tuple[int, ...], S] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def __call__(self, tokens: Sequence[int]) -> S:
        """Return the state after `tokens`."""
        key = tuple(tokens)
        cached = self._find_longest_prefix(key)
        if len(cached) == len(key):
            return self._states[key] if key else self.root
        state = self._states[cached] if cached else self.root
        self._states[key] = state = self.extend(state, key[len(cached) :])
        if len(self._states) > self.size:
            self._states.popitem(last=False)
        return state

    def _find_longest_prefix(self, key: tuple[int, ...]) -> tuple[int, ...]:
        """Find the longest cached prefix and mark it as the most recently used."""
        for length in range(len(key), 0, -1):
            prefix = key[:length]
            if prefix in self._states:
                self._states.move_to_end(prefix)
                return prefix
        return ()
