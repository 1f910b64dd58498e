"""What has been worked out for a prefix of tokens, kept so that its continuations start from there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from heatbath.errors import BadInput

S = TypeVar("S")


class PrefixMemo(Generic[S]):
    """States of an automaton by the tokens that led there; the `size` used last are kept, and the root always.

    `extend(state, tokens)` gives the state after more tokens and leaves the one it is given as it is: rows are forked,
    dropped and reopened at will, so any prefix may be asked for again. A new prefix costs its tokens after the longest
    prefix kept, one token where rows grow. Raises `BadInput` for a size below 1.
    """

    def __init__(self, root: S, extend: Callable[[S, Sequence[int]], S], *, size: int = 1024) -> None:
        if size < 1:
            raise BadInput(f"a memo of {size} states keeps none: give at least 1.")
        self.root, self.extend, self.size = root, extend, size
        self._states: OrderedDict[tuple[int, ...], S] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def __call__(self, tokens: Sequence[int]) -> S:
        """The state after `tokens`."""
        key = tuple(tokens)
        known = self._find_longest_prefix(key)
        if len(known) == len(key):
            return self._states[key] if key else self.root
        state = self._states[known] if known else self.root
        self._states[key] = state = self.extend(state, key[len(known) :])
        if len(self._states) > self.size:
            self._states.popitem(last=False)
        return state

    def _find_longest_prefix(self, key: tuple[int, ...]) -> tuple[int, ...]:
        """The longest prefix there is a state for, now the one used last."""
        for length in range(len(key), 0, -1):
            prefix = key[:length]
            if prefix in self._states:
                self._states.move_to_end(prefix)
                return prefix
        return ()
