"""The key-value cache of a pool: one buffer of slots, one slot per row, rows of different lengths.

Rows are padded on the right. A forward pass reads all slots up to the end of its longest row, and a mask hides the
columns beyond a row's end. The slots in use are the first ones, so that a step copies nothing.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from heatbath.models.hf.network import Network

MIN_SLOTS = 16
MIN_COLUMNS = 128
SHRINK_FACTOR = 8
MIN_RELEASED_COLUMNS = 256
"""Positions of a closed row from which its memory is given back at once."""
_SUPPORTED_LAYER_TYPES = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class SlotLayout:
    """The layout of keys and values: (layers, 2, kv_heads, head_dim) numbers of `dtype` per position of a row.

    Attributes:
        windows: sliding window of each layer, or None.
        mask_kinds: name of each layer's kind of mask; None where all layers share one.
    """

    windows: tuple[int | None, ...]
    mask_kinds: tuple[str, ...] | None
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


def infer_slot_layout(network: Network) -> SlotLayout | None:
    """Return the layout of a network's keys and values, None where a buffer of slots does not suit its layers."""
    if network.windows is None or network.cache_use != "batch" or "position_ids" not in network.forward_parameters:
        return None
    types = getattr(network.config, "layer_types", None)
    if types is not None and not _SUPPORTED_LAYER_TYPES.issuperset(types):
        return None
    if types is None and len(set(network.windows)) > 1:
        return None
    cache: Any = network.new_kv_cache()
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
    """A block of new positions: `width` positions of each of n rows.

    Attributes:
        slots: the slots of the rows, a slice where they are contiguous, else an index (n,).
        starts: first new position of each row, (n,).
        common_start: the start of all rows where it is the same, else None.
        end: end of the longest row.
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
        """Return the columns that each new position sees, itself and `window` - 1 before it, (n, 1, width, end)."""
        columns = torch.arange(self.end, device=self.starts.device)
        positions = self.positions[:, None, :, None]
        return (columns <= positions) & (columns > positions - window)


class SlotBuffer:
    """The buffer, (L, 2, slots, heads, columns, head_dim), zeros at first: masked columns must not be NaN.

    On a CPU it takes memory only where positions have been written, so that one long row does not make short ones
    large.
    """

    def __init__(self, layout: SlotLayout) -> None:
        self.layout = layout
        self._pages: mmap.mmap | None = None
        self.buffer = self._allocate(0, 0)

    def reserve(self, lengths: Sequence[int], slots: int, columns: int) -> None:
        """Make room for `slots` rows of `columns` positions, keeping the first rows with these `lengths`."""
        present = self.buffer.shape[2], self.buffer.shape[4]
        capacity = (_fit_capacity(present[0], slots, MIN_SLOTS), _fit_capacity(present[1], columns, MIN_COLUMNS))
        if capacity == present:
            return
        previous, self.buffer = self.buffer, self._allocate(*capacity)
        for slot, length in enumerate(lengths):
            self.buffer[:, :, slot, :, :length] = previous[:, :, slot, :, :length]

    def read_slot(self, slot: int, begin: int, end: int) -> torch.Tensor:
        """Return a view of some positions of a row, (L, 2, heads, n, head_dim)."""
        return self.buffer[:, :, slot, :, begin:end]

    def write_slot(self, slot: int, begin: int, values: torch.Tensor) -> None:
        """Write positions (L, 2, heads, n, head_dim) of a row."""
        self.buffer[:, :, slot, :, begin : begin + values.shape[3]] = values

    def clear_slot(self, slot: int) -> None:
        """Fill a slot with zeros, so that NaN of a failed row cannot reach the next one."""
        self.buffer[:, :, slot].zero_()

    def release_positions(self, slot: int, begin: int, end: int) -> None:
        """Give back the memory of positions that no row uses any more; they may read as zeros then."""
        if self._pages is None or end - begin < MIN_RELEASED_COLUMNS:
            return
        step, page = self.buffer.element_size(), mmap.PAGESIZE
        layers, _, _, heads, _, width = self.buffer.shape
        strides = self.buffer.stride()
        for layer, kind, head in product(range(layers), range(2), range(heads)):
            origin = layer * strides[0] + kind * strides[1] + slot * strides[2] + head * strides[3]
            first = -(-step * (origin + begin * width) // page) * page
            size = step * (origin + end * width) // page * page - first
            if size > 0:
                self._pages.madvise(mmap.MADV_DONTNEED, first, size)

    def _allocate(self, slots: int, columns: int) -> torch.Tensor:
        layout = self.layout
        shape = (len(layout.windows), 2, slots, layout.kv_heads, columns, layout.head_dim)
        self._pages = None
        size = math.prod(shape) * layout.dtype.itemsize
        if layout.device.type != "cpu" or not size or not hasattr(mmap, "MADV_DONTNEED"):
            return torch.zeros(shape, dtype=layout.dtype, device=layout.device)
        # Zeros that the system provides at the first access; the tensor keeps the mapping alive.
        self._pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return torch.frombuffer(self._pages, dtype=layout.dtype).view(shape)


def _fit_capacity(present: int, needed: int, minimum: int) -> int:
    """Return the new capacity: doubled when too small, cut when far too large."""
    if needed > present:
        return max(needed, 2 * present, minimum)
    if present > SHRINK_FACTOR * max(needed, minimum):
        return max(2 * needed, minimum)
    return present


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of the buffer, in the interface of a `transformers` cache layer, for one forward pass."""

    def __init__(self, layer: torch.Tensor, block: PositionBlock) -> None:
        super().__init__()
        self.layer, self.block = layer, block
        self.is_initialized = True
        self.is_sliding = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the buffer exists."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Write the new positions; return keys and values up to the end of the longest row."""
        return write_keys_values(self.layer, self.block, key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of keys and the position of the first; used only where no mask is passed."""
        return self.block.end, 0

    def get_seq_length(self) -> int:
        """Return the number of positions before the new ones, where it is one number."""
        return self.block.end - self.block.width

    def get_max_length(self) -> int:
        """Return -1, for no limit."""
        return -1


class SlotCache(Cache):  # type: ignore[misc]
    """The buffer in the interface of a `transformers` cache, for one block of positions."""

    def __init__(self, buffer: torch.Tensor, block: PositionBlock) -> None:
        super().__init__(layers=[_SlotLayer(layer, block) for layer in buffer])


def write_keys_values(layer: torch.Tensor, block: PositionBlock, keys: torch.Tensor, values: torch.Tensor) -> Any:
    """Write keys and values (n, heads, width, D) into a layer (2, S, heads, C, D).

    Returns the keys and values of these rows up to the end of the longest.
    """
    slots, end = block.slots, block.end
    if isinstance(slots, slice) and block.common_start is not None:
        layer[0, slots, :, block.common_start : end] = keys
        layer[1, slots, :, block.common_start : end] = values
        return layer[0, slots, :, :end], layer[1, slots, :, :end]
    columns = block.positions
    rows = torch.arange(slots.start, slots.stop, device=columns.device) if isinstance(slots, slice) else slots
    layer[0][rows[:, None], :, columns] = keys.transpose(1, 2)
    layer[1][rows[:, None], :, columns] = values.transpose(1, 2)
    if isinstance(slots, slice):
        return layer[0, slots, :, :end], layer[1, slots, :, :end]
    return layer[0, :, :, :end].index_select(0, slots), layer[1, :, :, :end].index_select(0, slots)


def build_masks(layout: SlotLayout, block: PositionBlock, *, additive: bool) -> Any:
    """Build the mask of each new position, (n, 1, width, end), or None if all is visible; a dict for mixed layers.

    Boolean, or `additive`: 0 and the least number.
    """
    if layout.mask_kinds is None:
        return _build_mask(layout, block, layout.windows[0], additive)
    window = {kind: window for kind, window in zip(layout.mask_kinds, layout.windows, strict=True)}
    return {kind: _build_mask(layout, block, window[kind], additive) for kind in window}


def _build_mask(layout: SlotLayout, block: PositionBlock, window: int | None, additive: bool) -> torch.Tensor | None:
    span = block.end if window is None else min(window, block.end)
    causal = block.common_start == 0 and not additive  # a fused kernel is causal by itself then
    if span == block.end and (causal or (block.width == 1 and block.common_start is not None)):
        return None
    visible = block.attention_mask(span)
    return torch.where(visible, 0.0, torch.finfo(layout.dtype).min).to(layout.dtype) if additive else visible
