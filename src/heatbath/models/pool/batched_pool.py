"""The pool of a neural model: all rows in one buffer of slots, one forward pass per step.

Prompts are evaluated first, up to their last token, rows of similar length together, whole or in pieces; then one pass
evaluates one token of every row with a single pending token. Other rows take part where that is cheaper than leaving
them out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from heatbath.models.base import Tokens
from heatbath.models.hf.network_check import TOLERANCES, energy_difference
from heatbath.models.pool import prefill
from heatbath.models.pool.base import PoolStats, row_not_open_error, validate_pool_push, validate_rows
from heatbath.models.pool.prefill import PieceTimer, choose_piece, split_batches, split_by_length, split_leaders
from heatbath.models.pool.prefix_cache import PrefixCache
from heatbath.models.pool.slot_kv_cache import PositionBlock, SlotBuffer, SlotCache, SlotLayout, build_masks
from heatbath.models.validation import validate_context_length

if TYPE_CHECKING:
    from heatbath.models.cpu_llama.decoder import CpuLlama
    from heatbath.models.hf.network import Network
    from heatbath.models.hf.transformers_model import TransformersModel


@dataclass(eq=False)
class _Row:
    """A row of the pool.

    Attributes:
        slot: the slot with keys and values of its first `evaluated_tokens` tokens.
        cached_tokens: tokens of the prompt that came from the prefix cache.
        output: hidden state after the last token, or energies where the head is not plain; None until evaluated.
    """

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
    """A pool whose rows share every forward pass, so that their rounding depends on the other rows."""

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
        self._piece_timer, self._num_pieces = PieceTimer(), 0
        self._columns_of_pass = math.inf if cpu_decoder is not None else _count_columns_of_pass(self._network, layout)

    @property
    def rows(self) -> Sequence[int]:
        return list(self._rows)

    @property
    def stats(self) -> PoolStats:
        return PoolStats(len(self._rows), self._prompt_tokens, self._hit_tokens, self._prefixes.bytes)

    def open(self, prompts: Sequence[Tokens], *, salt: bytes = b"") -> list[int]:
        resolved = [list(self._model.resolve_prompt(prompt)) for prompt in prompts]
        return [self._open_row(tokens, salt) for tokens in resolved]

    def cached_tokens(self, row: int) -> int:
        return self._find_row(row).cached_tokens

    def tokens(self, row: int) -> list[int]:
        return list(self._find_row(row).tokens)

    def push(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        ids = validate_pool_push(rows, tokens, self._model.vocabulary.size)
        targets = [self._find_row(row) for row in rows]
        longest = max((len(row.tokens) for row in targets), default=0)
        validate_context_length(longest + 1, self._model.context_length)
        for row, token in zip(targets, ids, strict=True):
            row.tokens.append(token)
            row.output = None

    def copy(self, row: int) -> int:
        source = self._find_row(row)
        with torch.inference_mode():
            if source.num_pending > 1:
                self._read_prompts([source])
            twin = _Row(list(source.tokens), source.salt, len(self._slot_rows), output=source.output)
            self._reserve_slots([twin])
            self._slots.write_slot(twin.slot, 0, self._slots.read_slot(source.slot, 0, source.evaluated_tokens))
        twin.evaluated_tokens, twin.cached_tokens = source.evaluated_tokens, source.cached_tokens
        return self._register_row(twin)

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        closing = {row: self._find_row(row) for row in rows}
        with torch.inference_mode():
            for number, row in closing.items():
                if keep:
                    self._store_prefix(row, row.evaluated_tokens)
                else:
                    self._slots.clear_slot(row.slot)
                self._release_slot(row)
                del self._rows[number]

    def count_unread(self, rows: Sequence[int] | None = None) -> int:
        selected = self._rows.values() if rows is None else [self._find_row(row) for row in rows]
        return sum(max(0, row.num_pending - 1) for row in selected)

    def read_piece(self, seconds: float | None = None) -> bool:
        unread = [row for row in self._rows.values() if row.num_pending > 1]
        if not unread:
            return False
        with torch.inference_mode():
            self._read_piece(unread, seconds)
        return True

    def energies(self, rows: Sequence[int]) -> torch.Tensor:
        numbers = validate_rows(rows)
        selected = [self._find_row(row) for row in numbers]
        with torch.inference_mode():
            if self._evaluate_pending(selected) or self._last_energies is None or self._last_energies[0] != numbers:
                self._last_energies = (numbers, self._compute_energies(selected))
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
        """Reserve columns for the tokens of every row, and one more that rows without a pending token write."""
        rows = [self._rows[number] for number in self._slot_rows]
        columns = max((len(row.tokens) for row in (*rows, *new_rows)), default=0) + 1
        self._slots.reserve([row.evaluated_tokens for row in rows], len(rows) + len(new_rows), columns)

    def _release_slot(self, closed_row: _Row) -> None:
        """Move the last row into the slot of a closed one."""
        number = self._slot_rows.pop()
        last = self._rows[number]
        slot, begin = closed_row.slot, 0
        if last is not closed_row:
            begin = last.evaluated_tokens
            self._slots.write_slot(slot, 0, self._slots.read_slot(last.slot, 0, begin))
            self._slots.release_positions(last.slot, 0, begin + 1)
            self._slot_rows[slot], last.slot = number, slot
        self._slots.release_positions(slot, begin, closed_row.evaluated_tokens + 1)

    def _restore_prefix(self, row: _Row) -> None:
        """Copy the cached prefix of a row's prompt into its slot, up to the token before its last."""
        segments = self._prefixes.find(row.tokens[:-1], row.salt)
        length = sum(segment.shape[3] for segment in segments)
        if length <= row.evaluated_tokens:
            return
        begin = 0
        for segment in segments:
            self._slots.write_slot(row.slot, begin, segment)
            begin += segment.shape[3]
        self._hit_tokens += length - row.evaluated_tokens
        row.evaluated_tokens = row.cached_tokens = length

    def _store_prefix(self, row: _Row, count: int) -> None:
        self._prefixes.add(row.tokens[:count], self._slots.read_slot(row.slot, 0, count), row.salt)

    def _evaluate_pending(self, selected: Sequence[_Row]) -> bool:
        """Evaluate the prompts of selected rows, then one token of each row with one pending; False for none."""
        self._read_prompts([row for row in selected if row.num_pending > 1])
        pending = [row for row in self._rows.values() if row.num_pending == 1]
        if not pending:
            return False
        self._reserve_slots()
        self._decode_step(pending)
        return True

    def _read_piece(self, unread: Sequence[_Row], seconds: float | None) -> None:
        """Evaluate a piece: every second one is of the prompt that was opened first, so that none waits for ever."""
        self._reserve_slots()
        for row in unread:
            if row.evaluated_tokens == row.cached_tokens:
                self._restore_prefix(row)
        unread = [row for row in unread if row.num_pending > 1]
        if unread:
            self._num_pieces += 1
            positions = self._piece_timer.fit_positions(seconds)
            batch, width = choose_piece(unread, positions, shortest_first=self._num_pieces % 2 == 1)
            start = time.perf_counter()
            self._prefill_piece(batch, width)
            self._piece_timer.record(time.perf_counter() - start, width * len(batch))

    def _read_prompts(self, rows: Sequence[_Row]) -> None:
        """Evaluate all but the last token of `rows`; rows that share a prefix with another one come second."""
        if not rows:
            return
        first, second = split_leaders(rows)
        self._reserve_slots()
        for group in (first, second):
            for row in group if group is second else ():
                self._restore_prefix(row)
            for batch in split_batches([row for row in group if row.num_pending > 1]):
                self._prefill_batch(batch)

    def _prefill_batch(self, rows: Sequence[_Row]) -> None:
        while rows:
            self._prefill_piece(rows, min(prefill.PREFILL_CHUNK, max(row.num_pending for row in rows) - 1))
            rows = [row for row in rows if row.num_pending > 1]

    def _prefill_piece(self, rows: Sequence[_Row], width: int) -> None:
        """Evaluate the next `width` tokens of the prompts of `rows`; cache the prompts that are read then."""
        self._forward_rows(rows, width)
        for row in rows:
            row.evaluated_tokens += min(width, row.num_pending - 1)
        for row in rows:
            if row.num_pending == 1:
                self._store_prefix(row, row.evaluated_tokens)

    def _decode_step(self, pending: Sequence[_Row]) -> None:
        for group in split_by_length(pending, self._columns_of_pass):
            rows = self._extend_to_slice(group)
            out = self._forward_rows(rows, 1).unbind(0)
            for row, one in zip(rows, out, strict=True):
                if row.num_pending == 1:
                    row.evaluated_tokens, row.output = row.evaluated_tokens + 1, one

    def _extend_to_slice(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Return the rows of all slots from the first to the last, where these cost less than a copy of those asked."""
        slots = [row.slot for row in rows]
        between = [self._rows[number] for number in self._slot_rows[min(slots) : max(slots) + 1]]
        longest = max(row.evaluated_tokens for row in rows)
        if any(row.num_pending > 1 or row.evaluated_tokens > longest for row in between):
            return rows
        return between if 2 * len(rows) >= len(between) else rows

    def _forward_rows(self, rows: Sequence[_Row], width: int) -> torch.Tensor:
        """Evaluate the next `width` tokens of `rows`, padded on the right; return the outputs after the last."""
        network, layout = self._network, self._slots.layout
        self._reserve_padding(rows, width)
        block = _build_block(rows, width, layout.device)
        tokens = np.zeros((len(rows), width), np.int64)
        for line, row in zip(tokens, rows, strict=True):
            new_tokens = row.tokens[row.evaluated_tokens : row.evaluated_tokens + width]
            line[: len(new_tokens)] = new_tokens
        ids, positions = torch.from_numpy(tokens).to(layout.device), self._positions(block)
        if self._cpu_decoder is not None:
            return self._cpu_decoder(ids, self._slots.buffer, block=block, positions=positions)
        cache, mask = SlotCache(self._slots.buffer, block), build_masks(layout, block, additive=self._additive_masks)
        if network.has_plain_head:
            return network.hidden_states(ids, cache, mask=mask, positions=positions)[:, -1]
        return network.position_energies(ids, cache, mask=mask, positions=positions)[:, -1]

    def _positions(self, block: PositionBlock) -> torch.Tensor:
        """Return the positions of the new tokens; those of padding stay within the context."""
        context = self._model.context_length
        return block.positions if context is None else block.positions.clamp_max(context - 1)

    def _reserve_padding(self, rows: Sequence[_Row], width: int) -> None:
        """Reserve columns for padding, which is written beyond the rows' ends."""
        end = max(row.evaluated_tokens for row in rows) + width
        if end > self._slots.buffer.shape[4]:
            present = [self._rows[number] for number in self._slot_rows]
            self._slots.reserve([row.evaluated_tokens for row in present], len(present), end)

    def _compute_energies(self, rows: Sequence[_Row]) -> torch.Tensor:
        """Return the energies (n, V) of evaluated rows."""
        last = torch.stack([row.output for row in rows if row.output is not None])
        if self._cpu_decoder is not None:
            return self._network.close_tokens(self._cpu_decoder.head(last.neg_()))
        return self._network.head_energies(last) if self._network.has_plain_head else last


def matches_network(model: TransformersModel, layout: SlotLayout, cpu_decoder: CpuLlama | None = None) -> bool:
    """Return True if a batched pool gives the energies of single rows: a network may read masks in its own way."""
    size = model.vocabulary.size
    pool = BatchedPool(model, layout, prefix_bytes=0, cpu_decoder=cpu_decoder)
    prompts = [[token % size for token in tokens] for tokens in ([1, 2, 3, 4, 5], [6, 7])]
    rows = pool.open(prompts)
    pool.energies(rows)
    pool.push(rows, [0, 0])
    energies = pool.energies(rows).float()
    tolerance = TOLERANCES[model.network.module.dtype]
    for actual, prompt in zip(energies, prompts, strict=True):
        with torch.inference_mode():
            tokens = torch.tensor([[*prompt, 0]], device=layout.device)
            expected = model.network.position_energies(tokens)[0, -1].float()
        if not energy_difference(actual, expected).relative <= tolerance:
            return False
    return True


def _count_columns_of_pass(network: Network, layout: SlotLayout) -> float:
    """Return the number of columns of one row that take as long to read as the weights, twice: a pass has its start."""
    weights = sum(int(each.nbytes) for each in network.module.parameters())
    return 2 * weights / (len(layout.windows) * 2 * layout.kv_heads * layout.head_dim * layout.dtype.itemsize)


def _build_block(rows: Sequence[_Row], width: int, device: torch.device) -> PositionBlock:
    starts, slots = [row.evaluated_tokens for row in rows], [row.slot for row in rows]
    contiguous = slots == list(range(slots[0], slots[0] + len(slots)))
    return PositionBlock(
        slots=slice(slots[0], slots[0] + len(slots)) if contiguous else torch.tensor(slots, device=device),
        starts=torch.tensor(starts, device=device),
        common_start=starts[0] if len(set(starts)) == 1 else None,
        width=width,
        end=max(starts) + width,
    )
