"""A model on a small table of energies, whose sequences and their probabilities can be listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import ExactModel, Floats, Ints, parameter_fingerprint
from heatbath.models.exact.tree import EnergyTree, Prefix, build_tree


class TableModel(ExactModel):
    """A model with energies (V,) for every prefix shorter than `length`, from a mapping or a function of the prefix.

    A sequence has `length` tokens, or fewer if it ends in a stop token; the first stop token then pads it. Raises
    `BadInput` for missing or invalid energies.
    """

    def __init__(
        self,
        energies: Mapping[Prefix, Sequence[float]] | Callable[[Prefix], Sequence[float]],
        length: int,
        *,
        stop_token_ids: Sequence[int] = (),
        symbols: Sequence[bytes] | None = None,
    ) -> None:
        self.tree: EnergyTree = build_tree(energies, length, stop_token_ids)
        super().__init__("table", Vocabulary(self.tree.vocab_size, stop_token_ids=self.tree.stop_token_ids), symbols)
        self.context_length = None if stop_token_ids else length

    @classmethod
    def random(
        cls, seed: int, size: int, length: int, *, stop_token_ids: Sequence[int] = (), scale: float = 1.0
    ) -> TableModel:
        """Build a model with independent Gaussian energies of standard deviation `scale`."""
        rng = np.random.default_rng(seed)
        return cls(lambda prefix: rng.normal(0.0, scale, size).tolist(), length, stop_token_ids=stop_token_ids)

    @cached_property
    def fingerprint(self) -> str:
        return parameter_fingerprint(
            "TableModel", self.tree.table, self.tree.length, self.tree.stop_token_ids, self.symbols
        )

    def initial_state(self, rows: int) -> Ints:
        return self.tree.initial_state(rows)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        return self.tree.advance(state, tokens)

    def next_energies(self, state: Ints) -> Floats:
        return self.tree.next_energies(state)

    def sequences(self) -> list[Prefix]:
        """List all sequences, in order of tokens."""
        return self.tree.sequences()

    def logprobs(self, beta: float = 1.0) -> Floats:
        """Return the exact log-probabilities of all sequences, drawn token by token at `beta`, (n,)."""
        return self.tree.logprobs(beta)

    def energies(self) -> Floats:
        """Return the total energies of all sequences, (n,), nats: sums over tokens, in the gauge of the table."""
        return self.tree.energies()
