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
from heatbath.models.pool.base import PoolStats, row_not_open_error, validate_pool_push, validate_rows
from heatbath.models.pool.prefix_cache import PrefixCache, common_prefix_length
from heatbath.models.pool.slot_kv_cache import PositionBlock, SlotBuffer, SlotCache, SlotLayout, build_masks
from heatbath.models.validation import validate_context_length

if TYPE_CHECKING:
    from heatbath.models.cpu_llama.decoder import CpuLlama
    from heatbath.models.hf.transformers_model import TransformersModel

PREFILL_CHUNK = 512
MAX_BATCH_POSITIONS = 1024
MIN_SHARED_TOKENS = 16
_RELATIVE_TOLERANCE = 0.2


@dataclass(eq=False)
class _Row:
    """A row: the first `seen` of its tokens lie in `slot`; `last` is what the head reads, or the energies."""

    tokens: list[int]
    salt: bytes
    slot: int
    evaluated_tokens: int = 0
    cached_tokens: int = 0
    output: torch.Tensor | None = None

    @property
    def num_pending(self) -> int:
        return len(self.tokens) - self.evaluated_tokens


class BatchedPool:
    """Rows share every forward pass, and so the order in which their sums are made."""

    batch_invariant = False

    def __init__(
        self, model: TransformersModel, layout: SlotLayout, *, prefix_bytes: int, cpu_decoder: CpuLlama | None = None
    ) -> None:
        self._model, self._network = model, model.network
        self._slots = SlotBuffer(layout)
        self._prefixes = PrefixCache(prefix_bytes)
        self._rows: dict[int, _Row] = {}
        self._slot_rows: list[int] = []
        self._next_row = self._prompt_tokens = self._hit_tokens = 0
        self._cpu_decoder = cpu_decoder
        self._additive_masks = self._network.config._attn_implementation == "eager"
        self._last_energies: tuple[list[int], torch.Tensor] | None = None

    @property
    def rows(self) -> Sequence[int]:
        return list(self._rows)

    @property
    def stats(self) -> PoolStats:
        return PoolStats(len(self._rows), self._prompt_tokens, self._hit_tokens, self._prefixes.bytes)

    def open(self, prompts: Sequence[Tokens], *, salt: bytes = b"") -> list[int]:
        checked = [list(self._model.resolve_prompt(prompt)) for prompt in prompts]
        return [self._open_row(tokens, salt) for tokens in checked]

    def cached_tokens(self, row: int) -> int:
        return self._find_row(row).cached_tokens

    def tokens(self, row: int) -> list[int]:
        return list(self._find_row(row).tokens)

    def push(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        ids = validate_pool_push(rows, tokens, self._model.vocabulary.size)
        grown = [self._find_row(row) for row in rows]
        longest = max((len(row.tokens) for row in grown), default=0)
        validate_context_length(longest + 1, self._model.context_length)
        for row, token in zip(grown, ids, strict=True):
            row.tokens.append(token)
            row.output = None

    def copy(self, row: int) -> int:
        source = self._find_row(row)
        with torch.inference_mode():
            if source.num_pending > 1:
                self._read_prompts([one for one in self._rows.values() if one.num_pending > 1])
            twin = _Row(list(source.tokens), source.salt, len(self._slot_rows), output=source.output)
            self._reserve_slots([twin])
            self._slots.write_slot(twin.slot, 0, self._slots.read_slot(source.slot, 0, source.evaluated_tokens))
        twin.evaluated_tokens, twin.cached_tokens = source.evaluated_tokens, source.cached_tokens
        return self._register_row(twin)

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        closed = {row: self._find_row(row) for row in rows}
        with torch.inference_mode():
            for number, row in closed.items():
                if keep:
                    self._store_prefix(row, row.evaluated_tokens)
                else:
                    self._slots.clear_slot(row.slot)
                self._release_slot(row)
                del self._rows[number]

    def energies(self, rows: Sequence[int]) -> torch.Tensor:
        asked = validate_rows(rows)
        chosen = [self._find_row(row) for row in asked]
        with torch.inference_mode():
            if self._evaluate_pending() or self._last_energies is None or self._last_energies[0] != asked:
                self._last_energies = (asked, self._compute_energies(chosen))
        return self._last_energies[1]

    def _find_row(self, row: int) -> _Row:
        if row not in self._rows:
            raise row_not_open_error(row)
        return self._rows[row]

    def _open_row(self, tokens: list[int], salt: bytes) -> int:
        row = _Row(tokens, salt, len(self._slot_rows))
        self._prompt_tokens += len(tokens)
        with torch.inference_mode():
            self._reserve_slots([row])
            self._restore_prefix(row)
        return self._register_row(row)

    def _register_row(self, row: _Row) -> int:
        number, self._next_row = self._next_row, self._next_row + 1
        self._rows[number] = row
        self._slot_rows.append(number)
        return number

    def _reserve_slots(self, new_rows: Sequence[_Row] = ()) -> None:
        """Room for every row's tokens, and for one more column that those who ride along write."""
        rows = [self._rows[number] for number in self._slot_rows]
        columns = max((len(row.tokens) for row in (*rows, *new_rows)), default=0) + 1
        self._slots.reserve([row.evaluated_tokens for row in rows], len(rows) + len(new_rows), columns)

    def _release_slot(self, closed_row: _Row) -> None:
        """Move the last row into the slot of one that leaves."""
        number = self._slot_rows.pop()
        last = self._rows[number]
        if last is not closed_row:
            self._slots.write_slot(closed_row.slot, 0, self._slots.read_slot(last.slot, 0, last.evaluated_tokens))
            self._slot_rows[closed_row.slot], last.slot = number, closed_row.slot

    def _restore_prefix(self, row: _Row) -> None:
        """Take what is known of the row's prompt, all but its last token at most, beyond what it has."""
        pieces = self._prefixes.find(row.tokens[:-1], row.salt)
        known = sum(piece.shape[3] for piece in pieces)
        if known <= row.evaluated_tokens:
            return
        begin = 0
        for piece in pieces:
            self._slots.write_slot(row.slot, begin, piece)
            begin += piece.shape[3]
        self._hit_tokens += known - row.evaluated_tokens
        row.evaluated_tokens = row.cached_tokens = known

    def _store_prefix(self, row: _Row, count: int) -> None:
        self._prefixes.add(row.tokens[:count], self._slots.read_slot(row.slot, 0, count), row.salt)

    def _evaluate_pending(self) -> bool:
        """Read prompts, then one token of each row that waits; False where none did."""
        waiting = [row for row in self._rows.values() if row.num_pending]
        if not waiting:
            return False
        self._reserve_slots()
        self._read_prompts([row for row in waiting if row.num_pending > 1])
        self._decode_step(waiting)
        return True

    def _read_prompts(self, rows: Sequence[_Row]) -> None:
        """Evaluate all but the last token of `rows`; those that begin like another of them come second."""
        first, second = _split_leaders(rows)
        self._reserve_slots()
        for group in (first, second):
            for row in group if group is second else ():
                self._restore_prefix(row)
            for batch in _split_batches([row for row in group if row.num_pending > 1]):
                self._prefill_batch(batch)

    def _prefill_batch(self, rows: Sequence[_Row]) -> None:
        while rows:
            width = min(PREFILL_CHUNK, max(row.num_pending for row in rows) - 1)
            self._forward_rows(rows, width)
            for row in rows:
                row.evaluated_tokens += min(width, row.num_pending - 1)
            for row in rows:
                if row.num_pending == 1:
                    self._store_prefix(row, row.evaluated_tokens)
            rows = [row for row in rows if row.num_pending > 1]

    def _decode_step(self, waiting: Sequence[_Row]) -> None:
        last = max(row.slot for row in waiting) + 1
        rows = [self._rows[number] for number in self._slot_rows[:last]] if 2 * len(waiting) >= last else waiting
        out = self._forward_rows(rows, 1).unbind(0)
        for row, one in zip(rows, out, strict=True):
            if row.num_pending:
                row.evaluated_tokens, row.output = row.evaluated_tokens + 1, one

    def _forward_rows(self, rows: Sequence[_Row], width: int) -> torch.Tensor:
        """Evaluate the next `width` tokens of `rows`, padded on the right; what comes after the last of them."""
        network, shape = self._network, self._slots.layout
        self._reserve_padding(rows, width)
        piece = _build_block(rows, width, shape.device)
        tokens = np.zeros((len(rows), width), np.int64)
        for line, row in zip(tokens, rows, strict=True):
            given = row.tokens[row.evaluated_tokens : row.evaluated_tokens + width]
            line[: len(given)] = given
        ids, positions = torch.from_numpy(tokens).to(shape.device), self._positions(piece)
        if self._cpu_decoder is not None:
            return self._cpu_decoder(ids, self._slots.buffer, piece=piece, positions=positions)
        cache, mask = SlotCache(self._slots.buffer, piece), build_masks(shape, piece, additive=self._additive_masks)
        if network.has_plain_head:
            return network.hidden_states(ids, cache, mask=mask, positions=positions)[:, -1]
        return network.logits(ids, cache, mask=mask, positions=positions)[:, -1].neg_()

    def _positions(self, piece: PositionBlock) -> torch.Tensor:
        """Positions of the new tokens; those of padding stay within what the model can read."""
        context = self._model.context_length
        return piece.positions if context is None else piece.positions.clamp_max(context - 1)

    def _reserve_padding(self, rows: Sequence[_Row], width: int) -> None:
        """Padding is written too, beyond the rows' ends."""
        end = max(row.evaluated_tokens for row in rows) + width
        if end > self._slots.buffer.shape[4]:
            present = [self._rows[number] for number in self._slot_rows]
            self._slots.reserve([row.evaluated_tokens for row in present], len(present), end)

    def _compute_energies(self, rows: Sequence[_Row]) -> torch.Tensor:
        """Energies (n, V) of rows evaluated."""
        last = torch.stack([row.output for row in rows if row.output is not None])
        if self._cpu_decoder is not None:
            return self._cpu_decoder.head(last.neg_())
        return self._network.head_energies(last) if self._network.has_plain_head else last


def matches_network(model: TransformersModel, layout: SlotLayout, cpu_decoder: CpuLlama | None = None) -> bool:
    """Whether rows in slots have the energies of rows alone: a network may read masks in its own way."""
    size = model.vocabulary.size
    pool = BatchedPool(model, layout, prefix_bytes=0, cpu_decoder=cpu_decoder)
    prompts = [[token % size for token in tokens] for tokens in ([1, 2, 3, 4, 5], [6, 7])]
    rows = pool.open(prompts)
    pool.energies(rows)
    pool.push(rows, [0, 0])
    energies = pool.energies(rows).float()
    for got, prompt in zip(energies, prompts, strict=True):
        with torch.inference_mode():
            tokens = torch.tensor([[*prompt, 0]], device=layout.device)
            wanted = model.network.logits(tokens)[0, -1].neg().float()
        if not bool(((got - wanted) - (got - wanted).mean()).abs().max() <= _RELATIVE_TOLERANCE * wanted.std()):
            return False
    return True


def _build_block(rows: Sequence[_Row], width: int, device: torch.device) -> PositionBlock:
    seen, slots = [row.evaluated_tokens for row in rows], [row.slot for row in rows]
    together = slots == list(range(slots[0], slots[0] + len(slots)))
    return PositionBlock(
        slots=slice(slots[0], slots[0] + len(slots)) if together else torch.tensor(slots, device=device),
        starts=torch.tensor(seen, device=device),
        common_start=seen[0] if len(set(seen)) == 1 else None,
        width=width,
        end=max(seen) + width,
    )


def _split_leaders(rows: Sequence[_Row]) -> tuple[list[_Row], list[_Row]]:
    """Rows to read first, and rows that begin like one of these, to read once that is known."""
    first: list[_Row] = []
    second: list[_Row] = []
    leader: _Row | None = None
    for row in sorted(rows, key=lambda row: (row.salt, row.tokens)):
        if leader is not None and _count_shared_tokens(row, leader) >= row.evaluated_tokens + MIN_SHARED_TOKENS:
            second.append(row)
        else:
            first.append(row)
            leader = row
    return first, second


def _count_shared_tokens(row: _Row, other: _Row) -> int:
    """How many tokens `row` could take from `other` once that has been read."""
    if row.salt != other.salt:
        return 0
    return common_prefix_length(np.asarray(row.tokens[:-1]), np.asarray(other.tokens[:-1]))


def _split_batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Rows of like length together, a bounded number of positions at a time."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda row: (row.num_pending, row.slot)):
        longest = min(PREFILL_CHUNK, row.num_pending - 1)
        if batch and ((len(batch) + 1) * longest > MAX_BATCH_POSITIONS or 2 * (batch[0].num_pending - 1) < longest):
            yield sorted(batch, key=lambda row: row.slot)
            batch = []
        batch.append(row)
    if batch:
        yield sorted(batch, key=lambda row: row.slot)
