"""Trees of energies, whose sequences can be enumerated. Node n has the children V n + 1 + x."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from heatbath.errors import BadInput
from heatbath.models.exact.base import Floats, Ints, log_probabilities

Prefix = tuple[int, ...]
_MAX_NODES = 1 << 20


@dataclass(frozen=True)
class EnergyTree:
    """The energies `table` (nodes, V) of all prefixes shorter than `length`, in the order of `list_prefixes`.

    After a stop token only the first stop token is possible, which pads a finished sequence.
    """

    table: Floats
    length: int
    stop_token_ids: tuple[int, ...] = ()

    @property
    def vocab_size(self) -> int:
        return int(self.table.shape[1])

    def initial_state(self, rows: int) -> Ints:
        return np.zeros((rows, 1), np.int64)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        child = np.minimum(self.vocab_size * state + 1 + tokens[:, None], len(self.table))
        return np.where(state == len(self.table), state, child)

    def next_energies(self, state: Ints) -> Floats:
        nodes = state[:, 0]
        if not self.stop_token_ids and (nodes == len(self.table)).any():
            raise BadInput(f"the tree ends after {self.length} tokens: there are no further energies.")
        return (
            self.table[nodes]
            if not self.stop_token_ids
            else np.vstack([self.table, padding_energies(self.vocab_size, self.stop_token_ids)])[nodes]
        )

    def sequences(self) -> list[Prefix]:
        """List all sequences: `length` tokens, or fewer if the last is a stop token."""
        leaves = product(range(self.vocab_size), repeat=self.length)
        return [
            _trim_after_stop(leaf, self.stop_token_ids) for leaf in leaves if _is_canonical(leaf, self.stop_token_ids)
        ]

    def logprobs(self, beta: float) -> Floats:
        """Return the log-probabilities of all sequences, drawn token by token at `beta`, (n,)."""
        return self._sum_along_paths(log_probabilities(self.table, beta))

    def energies(self) -> Floats:
        """Return the total energies of all sequences, (n,), nats."""
        return self._sum_along_paths(self.table)

    def _sum_along_paths(self, table: Floats) -> Floats:
        total, node = np.zeros(1), 0
        for _ in range(self.length):
            level = table[node : node + len(total)]
            node += len(total)
            total = (total[:, None] + level).ravel()
        if not self.stop_token_ids:
            return total
        leaves = product(range(self.vocab_size), repeat=self.length)
        return total[[_is_canonical(leaf, self.stop_token_ids) for leaf in leaves]]


def build_tree(
    energies: Mapping[Prefix, Sequence[float]] | Callable[[Prefix], Sequence[float]],
    length: int,
    stop_token_ids: Sequence[int],
) -> EnergyTree:
    """Build the tree of a rule from prefix to energies (V,), which is not evaluated after a stop token."""
    rule = energies if callable(energies) else energies.__getitem__
    if length < 1:
        raise BadInput(f"`length` must be at least 1, got {length}.")
    size = len(np.atleast_1d(np.asarray(rule(()))))
    if size**length > _MAX_NODES:
        raise BadInput(
            f"{size}^{length} sequences are too many for a table: give a smaller `length`, or write an `ExactModel`."
        )
    if not all(0 <= token < size for token in stop_token_ids):
        raise BadInput(f"`stop_token_ids` must be in the vocabulary of {size}, got {list(stop_token_ids)}.")
    rows = [_build_row(rule, prefix, size, tuple(stop_token_ids)) for prefix in list_prefixes(size, length)]
    return EnergyTree(np.stack(rows), length, tuple(stop_token_ids))


def list_prefixes(size: int, length: int) -> list[Prefix]:
    """List all prefixes shorter than `length`, shortest first, then in order of tokens."""
    return [prefix for n in range(length) for prefix in product(range(size), repeat=n)]


def padding_energies(size: int, stop_token_ids: tuple[int, ...]) -> Floats:
    """Return the energies of a finished row: the first stop token and nothing else."""
    return np.where(np.arange(size) == stop_token_ids[0], 0.0, np.inf)


def _build_row(rule: Callable[[Prefix], Sequence[float]], prefix: Prefix, size: int, stop: tuple[int, ...]) -> Floats:
    if set(prefix) & set(stop):
        return padding_energies(size, stop)
    try:
        row = np.asarray(rule(prefix), np.float64)
    except KeyError as missing:
        raise BadInput(f"the table has no energies for the prefix {prefix}.") from missing
    if row.shape != (size,) or np.isnan(row).any() or not np.isfinite(row.min()):
        raise BadInput(
            f"the energies of prefix {prefix} must be {size} numbers, not NaN, one of them finite, got {row}."
        )
    return row


def _is_canonical(leaf: Prefix, stop: tuple[int, ...]) -> bool:
    end = next((t for t, token in enumerate(leaf) if token in stop), len(leaf))
    return all(token == stop[0] for token in leaf[end + 1 :])


def _trim_after_stop(leaf: Prefix, stop: tuple[int, ...]) -> Prefix:
    return leaf[: next((t for t, token in enumerate(leaf, 1) if token in stop), len(leaf))]
