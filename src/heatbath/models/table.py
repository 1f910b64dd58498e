"""A small tree of energies given prefix by prefix: every sequence and its probability can be listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from heatbath.models.base import Vocabulary
from heatbath.models.exact import ExactModel, Floats, Ints, digest
from heatbath.models.tree import Prefix, Tree, grow


class TableModel(ExactModel):
    """Energies (V,) for every prefix shorter than `length`, from a mapping or a function of the prefix.

    A sequence has `length` tokens, or fewer when it ends in a `stop` token; then that token repeats with certainty.
    Raises `BadInput` for missing or wrong energies.
    """

    def __init__(
        self,
        energies: Mapping[Prefix, Sequence[float]] | Callable[[Prefix], Sequence[float]],
        length: int,
        *,
        stop: Sequence[int] = (),
        symbols: Sequence[bytes] | None = None,
    ) -> None:
        self.tree: Tree = grow(energies, length, stop)
        super().__init__("table", Vocabulary(self.tree.size, stop=self.tree.stop), symbols)
        self.context_length = None if stop else length

    @classmethod
    def random(cls, seed: int, size: int, length: int, *, stop: Sequence[int] = (), scale: float = 1.0) -> TableModel:
        """Independent Gaussian energies of standard deviation `scale`."""
        rng = np.random.default_rng(seed)
        return cls(lambda prefix: rng.normal(0.0, scale, size).tolist(), length, stop=stop)

    @cached_property
    def fingerprint(self) -> str:
        return digest("TableModel", self.tree.table, self.tree.length, self.tree.stop, self.symbols)

    def begin(self, rows: int) -> Ints:
        return self.tree.begin(rows)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        return self.tree.advance(state, tokens)

    def law(self, state: Ints) -> Floats:
        return self.tree.law(state)

    def sequences(self) -> list[Prefix]:
        """Every sequence, in order of tokens."""
        return self.tree.sequences()

    def logprobs(self, beta: float = 1.0) -> Floats:
        """Exact log-probabilities of `sequences` drawn token by token at `beta`, (n,)."""
        return self.tree.logprobs(beta)

    def energies(self) -> Floats:
        """Total energies of `sequences`, (n,), nats: the sum over tokens, in the gauge of the table."""
        return self.tree.energies()
