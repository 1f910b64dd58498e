"""Keys and values of rows that come and go: one buffer of slots, each row in its own, each as long as it is.

Rows are padded on the right, where nothing has been written yet; a forward pass reads all slots up to the longest row
it has, and a mask hides what lies beyond a row's end. Slots in use are the first ones, so that a step copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from heatbath.models.hf.network import Network

MIN_SLOTS = 16
MIN_COLUMNS = 128
SHRINK_FACTOR = 8
_SUPPORTED_LAYER_TYPES = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class SlotLayout:
    """What one position of one row takes: (layers, 2, heads, width) numbers of `dtype`; `kinds` names each layer's
    mask where there is more than one."""

    windows: tuple[int | None, ...]
    mask_kinds: tuple[str, ...] | None
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


def infer_slot_layout(network: Network) -> SlotLayout | None:
    """What a network's rows take, or None where a buffer of slots does not suit its layers."""
    if network.windows is None or "position_ids" not in network.forward_parameters:
        return None
    types = getattr(network.config, "layer_types", None)
    if types is not None and not _SUPPORTED_LAYER_TYPES.issuperset(types):
        return None
    if types is None and len(set(network.windows)) > 1:
        return None
    cache = network.new_kv_cache()
    with torch.inference_mode():
        network.logits(torch.zeros((1, 1), dtype=torch.long, device=network.device), cache)
    arrays = [array for layer in cache.layers for array in (layer.keys, layer.values)]
    heads, width = arrays[0].shape[1], arrays[0].shape[3]
    if any(array.shape[1] != heads or array.shape[3] != width for array in arrays):
        return None
    kinds = tuple(types) if types is not None and len(set(types)) > 1 else None
    return SlotLayout(tuple(network.windows), kinds, heads, width, arrays[0].dtype, network.device)


@dataclass(frozen=True)
class PositionBlock:
    """New positions of some rows: `width` of each from `starts` (n,) on, in the slots named; `end` is the longest.

    `slots` is a range where they lie together, else an index (n,). `start` is the start of all where it is the same.
    """

    slots: slice | torch.Tensor
    starts: torch.Tensor
    common_start: int | None
    width: int
    end: int

    @property
    def positions(self) -> torch.Tensor:
        """Position of each new token, (n, width)."""
        return self.starts[:, None] + torch.arange(self.width, device=self.starts.device)

    def attention_mask(self, window: int) -> torch.Tensor:
        """Which columns each new position sees, itself and `window` - 1 before it, (n, 1, width, end)."""
        columns = torch.arange(self.end, device=self.starts.device)
        positions = self.positions[:, None, :, None]
        return (columns <= positions) & (columns > positions - window)


class SlotBuffer:
    """The buffer, (L, 2, slots, heads, columns, width): zeros at first, for what is hidden must still be a number."""

    def __init__(self, layout: SlotLayout) -> None:
        self.layout = layout
        self.buffer = self._allocate(0, 0)

    def reserve(self, lengths: Sequence[int], slots: int, columns: int) -> None:
        """Make room for `slots` rows of `columns` positions; `lengths` are those of the rows there are."""
        rows, room = self.buffer.shape[2], self.buffer.shape[4]
        grown = (_fit_capacity(rows, slots, MIN_SLOTS), _fit_capacity(room, columns, MIN_COLUMNS))
        if grown == (rows, room):
            return
        before, self.buffer = self.buffer, self._allocate(*grown)
        for slot, length in enumerate(lengths):
            self.buffer[:, :, slot, :, :length] = before[:, :, slot, :, :length]

    def read_slot(self, slot: int, begin: int, end: int) -> torch.Tensor:
        """A view of some positions of a row, (L, 2, heads, n, width)."""
        return self.buffer[:, :, slot, :, begin:end]

    def write_slot(self, slot: int, begin: int, values: torch.Tensor) -> None:
        """Put positions (L, 2, heads, n, width) into a row."""
        self.buffer[:, :, slot, :, begin : begin + values.shape[3]] = values

    def clear_slot(self, slot: int) -> None:
        """Zeros again: what a broken row left must not reach the next."""
        self.buffer[:, :, slot].zero_()

    def _allocate(self, slots: int, columns: int) -> torch.Tensor:
        shape = self.layout
        size = (len(shape.windows), 2, slots, shape.kv_heads, columns, shape.head_dim)
        return torch.zeros(size, dtype=shape.dtype, device=shape.device)


def _fit_capacity(present: int, needed: int, minimum: int) -> int:
    """The capacity to have: doubled when too small, cut when it is far too large."""
    if needed > present:
        return max(needed, 2 * present, minimum)
    if present > SHRINK_FACTOR * max(needed, minimum):
        return max(2 * needed, minimum)
    return present


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of the buffer as `transformers` sees it during one forward pass."""

    def __init__(self, layer: torch.Tensor, piece: PositionBlock) -> None:
        super().__init__()
        self.layer, self.piece = layer, piece
        self.is_initialized = True
        self.is_sliding = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """The buffer is there."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Write the new positions; return keys and values up to the longest row's end."""
        return write_keys_values(self.layer, self.piece, key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys seen and where they begin; the masks are given, so that only their absence asks."""
        return self.piece.end, 0

    def get_seq_length(self) -> int:
        """Positions written so far, where that is one number."""
        return self.piece.end - self.piece.width

    def get_max_length(self) -> int:
        """No limit of its own."""
        return -1


class SlotCache(Cache):  # type: ignore[misc]
    """The buffer as a `transformers` cache, for one piece."""

    def __init__(self, buffer: torch.Tensor, piece: PositionBlock) -> None:
        super().__init__(layers=[_SlotLayer(layer, piece) for layer in buffer])


def write_keys_values(layer: torch.Tensor, piece: PositionBlock, keys: torch.Tensor, values: torch.Tensor) -> Any:
    """Put keys and values (n, heads, width, D) into a layer (2, S, heads, C, D); those of the rows up to the end."""
    slots, end = piece.slots, piece.end
    if isinstance(slots, slice) and piece.common_start is not None:
        layer[0, slots, :, piece.common_start : end] = keys
        layer[1, slots, :, piece.common_start : end] = values
        return layer[0, slots, :, :end], layer[1, slots, :, :end]
    columns = piece.positions
    rows = torch.arange(slots.start, slots.stop, device=columns.device) if isinstance(slots, slice) else slots
    layer[0][rows[:, None], :, columns] = keys.transpose(1, 2)
    layer[1][rows[:, None], :, columns] = values.transpose(1, 2)
    if isinstance(slots, slice):
        return layer[0, slots, :, :end], layer[1, slots, :, :end]
    return layer[0, :, :, :end].index_select(0, slots), layer[1, :, :, :end].index_select(0, slots)


def build_masks(layout: SlotLayout, piece: PositionBlock, *, additive: bool) -> Any:
    """What each new position may see: a mask (n, 1, width, end), one a kind of layer, or None where it is everything.

    Boolean, or `additive`: 0 and the least number.
    """
    if layout.mask_kinds is None:
        return _build_mask(layout, piece, layout.windows[0], additive)
    window = {kind: window for kind, window in zip(layout.mask_kinds, layout.windows, strict=True)}
    return {kind: _build_mask(layout, piece, window[kind], additive) for kind in window}


def _build_mask(layout: SlotLayout, piece: PositionBlock, window: int | None, additive: bool) -> torch.Tensor | None:
    span = piece.end if window is None else min(window, piece.end)
    causal = piece.common_start == 0 and not additive  # a fused kernel then hides what comes later by itself
    if span == piece.end and (causal or (piece.width == 1 and piece.common_start is not None)):
        return None
    seen = piece.attention_mask(span)
    return torch.where(seen, 0.0, torch.finfo(layout.dtype).min).to(layout.dtype) if additive else seen
