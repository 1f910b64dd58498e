"""Selection of the rows that share a forward pass, and of the positions of a prompt that fit a given time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

PREFILL_CHUNK = 512
MAX_BATCH_POSITIONS = 1024
MIN_SHARED_TOKENS = 16
MIN_PIECE_POSITIONS = 32
"""Positions of the smallest piece: below it a pass costs what its weights cost, however few positions it has."""
_INITIAL_SECONDS = 1e-3
_SMOOTHING = 0.5


class PromptRow(Protocol):
    """A row of a pool, as far as reading its prompt goes: see the rows of `batched_pool`."""

    tokens: list[int]
    salt: bytes
    slot: int
    evaluated_tokens: int

    @property
    def num_pending(self) -> int: ...


@dataclass
class PieceTimer:
    """Seconds that a position of a prompt takes, averaged over the latest pieces."""

    seconds_per_position: float = _INITIAL_SECONDS

    def fit_positions(self, seconds: float | None) -> int:
        """Return the number of positions that take about `seconds`, a power of two; None gives the largest piece.

        Few different sizes, since a matrix product is prepared anew for each.
        """
        if seconds is None:
            return PREFILL_CHUNK
        size = MIN_PIECE_POSITIONS
        while 2 * size * self.seconds_per_position <= seconds and size < PREFILL_CHUNK:
            size *= 2
        return size

    def record(self, seconds: float, positions: int) -> None:
        """Record the duration of a piece."""
        self.seconds_per_position += _SMOOTHING * (seconds / positions - self.seconds_per_position)


Row = TypeVar("Row", bound=PromptRow)


def choose_piece(rows: Sequence[Row], positions: int, *, shortest_first: bool) -> tuple[list[Row], int]:
    """Return rows, in the order of their slots, and the number of tokens of each to evaluate in one pass.

    The pass has about `positions` positions at most. It begins with the row that has least to read, so that a short
    prompt does not wait for a long one, or with the first of `rows`; rows with about as much to read join it. Rows
    that will find their prefix in the cache once another row is read are left for later.
    """

    def width(row: Row) -> int:
        return min(positions, PREFILL_CHUNK, row.num_pending - 1)

    leaders = {id(row): row for row in split_leaders(rows)[0]}
    candidates = [row for row in rows if id(row) in leaders]
    batch = [min(candidates, key=width) if shortest_first else candidates[0]]
    low = high = width(batch[0])
    for row in sorted((row for row in candidates if row is not batch[0]), key=width):
        bounds = min(low, width(row)), max(high, width(row))
        if bounds[1] <= 2 * bounds[0] and (len(batch) + 1) * bounds[1] <= positions:
            batch.append(row)
            low, high = bounds
    return sorted(batch, key=lambda row: row.slot), high


def split_leaders(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Split into rows to evaluate first, and rows that can then use the prefix of one of these."""
    first: list[Row] = []
    second: list[Row] = []
    leader: Row | None = None
    for row in sorted(rows, key=lambda row: (row.salt, row.tokens)):
        if leader is not None and _shares_prefix(row, leader):
            second.append(row)
        else:
            first.append(row)
            leader = row
    return first, second


def _shares_prefix(row: PromptRow, leader: PromptRow) -> bool:
    """Return whether `row` could take enough tokens from `leader`, once that is evaluated."""
    count = row.evaluated_tokens + MIN_SHARED_TOKENS
    is_long = min(len(row.tokens), len(leader.tokens)) > count
    return is_long and row.salt == leader.salt and row.tokens[:count] == leader.tokens[:count]


def split_batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield batches of rows of similar length, with a bounded number of positions each."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.num_pending, row.slot)):
        longest = min(PREFILL_CHUNK, row.num_pending - 1)
        if batch and ((len(batch) + 1) * longest > MAX_BATCH_POSITIONS or 2 * (batch[0].num_pending - 1) < longest):
            yield sorted(batch, key=lambda row: row.slot)
            batch = []
        batch.append(row)
    if batch:
        yield sorted(batch, key=lambda row: row.slot)


def split_by_length(rows: Sequence[Row], columns_of_pass: float) -> list[list[Row]]:
    """Split the rows of a step where one pass would read more padding than the weights of another pass.

    A pass reads the keys of every row up to the longest one's. `columns_of_pass` is the number of columns of one row
    that cost what a pass costs without them. The groups are in ascending order of length.
    """
    ordered = sorted(rows, key=lambda row: row.evaluated_tokens)
    lengths = [row.evaluated_tokens for row in ordered]
    padding = [count * (lengths[-1] - lengths[count - 1]) for count in range(1, len(ordered))]
    if not padding or max(padding) <= columns_of_pass:
        return [ordered]
    cut = padding.index(max(padding)) + 1
    return [*split_by_length(ordered[:cut], columns_of_pass), *split_by_length(ordered[cut:], columns_of_pass)]
