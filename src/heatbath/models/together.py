"""The pool of a neural model: all rows in one buffer of slots, one forward pass a step.

Prompts are read first, up to their last token, rows of like length together; then one pass evaluates one token of every
row that waits. Rows that do not wait ride along where that is cheaper than leaving them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from heatbath.models.base import Tokens
from heatbath.models.pool import PoolStats
from heatbath.models.prefixes import Prefixes, common
from heatbath.models.separate import not_open, pushed, roomy, some
from heatbath.models.slots import Geometry, Piece, SlotCache, Slots, masks

if TYPE_CHECKING:
    from heatbath.models.lean import Lean
    from heatbath.models.transformers import TransformersModel

CHUNK = 512
POSITIONS = 1024
LEAST_SHARED = 16
_AGREEMENT = 0.2


@dataclass(eq=False)
class _Row:
    """A row: the first `seen` of its tokens lie in `slot`; `last` is what the head reads, or the energies."""

    tokens: list[int]
    salt: bytes
    slot: int
    seen: int = 0
    cached: int = 0
    last: torch.Tensor | None = None

    @property
    def waiting(self) -> int:
        return len(self.tokens) - self.seen


class TogetherPool:
    """Rows share every forward pass, and so the order in which their sums are made."""

    batch_invariant = False

    def __init__(
        self, model: TransformersModel, shape: Geometry, *, prefix_bytes: int, lean: Lean | None = None
    ) -> None:
        self._model, self._network = model, model.network
        self._slots = Slots(shape)
        self._prefixes = Prefixes(prefix_bytes)
        self._rows: dict[int, _Row] = {}
        self._order: list[int] = []
        self._opened = self._asked = self._hit = 0
        self._lean = lean
        self._additive = self._network.config._attn_implementation == "eager"
        self._answer: tuple[list[int], torch.Tensor] | None = None

    @property
    def rows(self) -> Sequence[int]:
        return list(self._rows)

    @property
    def stats(self) -> PoolStats:
        return PoolStats(len(self._rows), self._asked, self._hit, self._prefixes.bytes)

    def open(self, prompts: Sequence[Tokens], *, salt: bytes = b"") -> list[int]:
        checked = [list(self._model.started(prompt)) for prompt in prompts]
        return [self._added(tokens, salt) for tokens in checked]

    def cached(self, row: int) -> int:
        return self._row(row).cached

    def tokens(self, row: int) -> list[int]:
        return list(self._row(row).tokens)

    def push(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        ids = pushed(rows, tokens, self._model.vocabulary.size)
        grown = [self._row(row) for row in rows]
        roomy(self._model.context_length, [len(row.tokens) + 1 for row in grown])
        for row, token in zip(grown, ids, strict=True):
            row.tokens.append(token)
            row.last = None

    def copy(self, row: int) -> int:
        source = self._row(row)
        with torch.inference_mode():
            if source.waiting > 1:
                self._read([one for one in self._rows.values() if one.waiting > 1])
            twin = _Row(list(source.tokens), source.salt, len(self._order), last=source.last)
            self._reserve([twin])
            self._slots.write(twin.slot, 0, self._slots.read(source.slot, 0, source.seen))
        twin.seen, twin.cached = source.seen, source.cached
        return self._placed(twin)

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        closed = {row: self._row(row) for row in rows}
        with torch.inference_mode():
            for number, row in closed.items():
                if keep:
                    self._keep(row, row.seen)
                else:
                    self._slots.clear(row.slot)
                self._fill(row)
                del self._rows[number]

    def energies(self, rows: Sequence[int]) -> torch.Tensor:
        asked = some(rows)
        chosen = [self._row(row) for row in asked]
        with torch.inference_mode():
            if self._evaluate() or self._answer is None or self._answer[0] != asked:
                self._answer = (asked, self._finished(chosen))
        return self._answer[1]

    def _row(self, row: int) -> _Row:
        if row not in self._rows:
            raise not_open(row)
        return self._rows[row]

    def _added(self, tokens: list[int], salt: bytes) -> int:
        row = _Row(tokens, salt, len(self._order))
        self._asked += len(tokens)
        with torch.inference_mode():
            self._reserve([row])
            self._recall(row)
        return self._placed(row)

    def _placed(self, row: _Row) -> int:
        number, self._opened = self._opened, self._opened + 1
        self._rows[number] = row
        self._order.append(number)
        return number

    def _reserve(self, more: Sequence[_Row] = ()) -> None:
        """Room for every row's tokens, and for one more column that those who ride along write."""
        rows = [self._rows[number] for number in self._order]
        columns = max((len(row.tokens) for row in (*rows, *more)), default=0) + 1
        self._slots.reserve([row.seen for row in rows], len(rows) + len(more), columns)

    def _fill(self, hole: _Row) -> None:
        """Move the last row into the slot of one that leaves."""
        number = self._order.pop()
        last = self._rows[number]
        if last is not hole:
            self._slots.write(hole.slot, 0, self._slots.read(last.slot, 0, last.seen))
            self._order[hole.slot], last.slot = number, hole.slot

    def _recall(self, row: _Row) -> None:
        """Take what is known of the row's prompt, all but its last token at most, beyond what it has."""
        pieces = self._prefixes.find(row.tokens[:-1], row.salt)
        known = sum(piece.shape[3] for piece in pieces)
        if known <= row.seen:
            return
        begin = 0
        for piece in pieces:
            self._slots.write(row.slot, begin, piece)
            begin += piece.shape[3]
        self._hit += known - row.seen
        row.seen = row.cached = known

    def _keep(self, row: _Row, count: int) -> None:
        self._prefixes.add(row.tokens[:count], self._slots.read(row.slot, 0, count), row.salt)

    def _evaluate(self) -> bool:
        """Read prompts, then one token of each row that waits; False where none did."""
        waiting = [row for row in self._rows.values() if row.waiting]
        if not waiting:
            return False
        self._reserve()
        self._read([row for row in waiting if row.waiting > 1])
        self._step(waiting)
        return True

    def _read(self, rows: Sequence[_Row]) -> None:
        """Evaluate all but the last token of `rows`; those that begin like another of them come second."""
        first, second = _leaders(rows)
        self._reserve()
        for group in (first, second):
            for row in group if group is second else ():
                self._recall(row)
            for batch in _batches([row for row in group if row.waiting > 1]):
                self._prefill(batch)

    def _prefill(self, rows: Sequence[_Row]) -> None:
        while rows:
            width = min(CHUNK, max(row.waiting for row in rows) - 1)
            self._forward(rows, width)
            for row in rows:
                row.seen += min(width, row.waiting - 1)
            for row in rows:
                if row.waiting == 1:
                    self._keep(row, row.seen)
            rows = [row for row in rows if row.waiting > 1]

    def _step(self, waiting: Sequence[_Row]) -> None:
        last = max(row.slot for row in waiting) + 1
        rows = [self._rows[number] for number in self._order[:last]] if 2 * len(waiting) >= last else waiting
        out = self._forward(rows, 1).unbind(0)
        for row, one in zip(rows, out, strict=True):
            if row.waiting:
                row.seen, row.last = row.seen + 1, one

    def _forward(self, rows: Sequence[_Row], width: int) -> torch.Tensor:
        """Evaluate the next `width` tokens of `rows`, padded on the right; what comes after the last of them."""
        network, shape = self._network, self._slots.shape
        self._slots_for(rows, width)
        piece = _piece(rows, width, shape.device)
        tokens = np.zeros((len(rows), width), np.int64)
        for line, row in zip(tokens, rows, strict=True):
            given = row.tokens[row.seen : row.seen + width]
            line[: len(given)] = given
        ids, positions = torch.from_numpy(tokens).to(shape.device), self._positions(piece)
        if self._lean is not None:
            return self._lean(ids, self._slots.buffer, piece=piece, positions=positions)
        cache, mask = SlotCache(self._slots.buffer, piece), masks(shape, piece, additive=self._additive)
        if network.plain_head:
            return network.hidden(ids, cache, mask=mask, positions=positions)[:, -1]
        return network.logits(ids, cache, mask=mask, positions=positions)[:, -1].neg_()

    def _positions(self, piece: Piece) -> torch.Tensor:
        """Positions of the new tokens; those of padding stay within what the model can read."""
        context = self._model.context_length
        return piece.positions if context is None else piece.positions.clamp_max(context - 1)

    def _slots_for(self, rows: Sequence[_Row], width: int) -> None:
        """Padding is written too, beyond the rows' ends."""
        end = max(row.seen for row in rows) + width
        if end > self._slots.buffer.shape[4]:
            present = [self._rows[number] for number in self._order]
            self._slots.reserve([row.seen for row in present], len(present), end)

    def _finished(self, rows: Sequence[_Row]) -> torch.Tensor:
        """Energies (n, V) of rows evaluated."""
        last = torch.stack([row.last for row in rows if row.last is not None])
        if self._lean is not None:
            return self._lean.head(last.neg_())
        return self._network.head(last) if self._network.plain_head else last


def agrees(model: TransformersModel, shape: Geometry, lean: Lean | None = None) -> bool:
    """Whether rows in slots have the energies of rows alone: a network may read masks in its own way."""
    size = model.vocabulary.size
    pool = TogetherPool(model, shape, prefix_bytes=0, lean=lean)
    prompts = [[token % size for token in tokens] for tokens in ([1, 2, 3, 4, 5], [6, 7])]
    rows = pool.open(prompts)
    pool.energies(rows)
    pool.push(rows, [0, 0])
    energies = pool.energies(rows).float()
    for got, prompt in zip(energies, prompts, strict=True):
        with torch.inference_mode():
            tokens = torch.tensor([[*prompt, 0]], device=shape.device)
            wanted = model.network.logits(tokens)[0, -1].neg().float()
        if not bool(((got - wanted) - (got - wanted).mean()).abs().max() <= _AGREEMENT * wanted.std()):
            return False
    return True


def _piece(rows: Sequence[_Row], width: int, device: torch.device) -> Piece:
    seen, slots = [row.seen for row in rows], [row.slot for row in rows]
    together = slots == list(range(slots[0], slots[0] + len(slots)))
    return Piece(
        slots=slice(slots[0], slots[0] + len(slots)) if together else torch.tensor(slots, device=device),
        starts=torch.tensor(seen, device=device),
        start=seen[0] if len(set(seen)) == 1 else None,
        width=width,
        end=max(seen) + width,
    )


def _leaders(rows: Sequence[_Row]) -> tuple[list[_Row], list[_Row]]:
    """Rows to read first, and rows that begin like one of these, to read once that is known."""
    first: list[_Row] = []
    second: list[_Row] = []
    leader: _Row | None = None
    for row in sorted(rows, key=lambda row: (row.salt, row.tokens)):
        if leader is not None and _shared(row, leader) >= row.seen + LEAST_SHARED:
            second.append(row)
        else:
            first.append(row)
            leader = row
    return first, second


def _shared(row: _Row, other: _Row) -> int:
    """How many tokens `row` could take from `other` once that has been read."""
    if row.salt != other.salt:
        return 0
    return common(np.asarray(row.tokens[:-1]), np.asarray(other.tokens[:-1]))


def _batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Rows of like length together, a bounded number of positions at a time."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda row: (row.waiting, row.slot)):
        longest = min(CHUNK, row.waiting - 1)
        if batch and ((len(batch) + 1) * longest > POSITIONS or 2 * (batch[0].waiting - 1) < longest):
            yield sorted(batch, key=lambda row: row.slot)
            batch = []
        batch.append(row)
    if batch:
        yield sorted(batch, key=lambda row: row.slot)
