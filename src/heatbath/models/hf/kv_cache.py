"""A key-value cache written in place: preallocated, grown geometrically, returned as views.

The cache of `transformers` concatenates at every step, which copies all earlier positions and takes a third of a
decoding step at batch 64. Here a step writes one position and returns a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

INITIAL_CAPACITY = 64


class StateCache:
    """The state of a recurrent network that is handed in and returned: tensors (B, ...), None before the first pass."""

    def __init__(self) -> None:
        self.state: list[torch.Tensor] | None = None

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keep `rows` (B',), in that order."""
        if self.state is not None:
            self.state = [tensor.index_select(0, rows) for tensor in self.state]


NetworkCache: TypeAlias = Cache | StateCache


class GrowingLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, (B, heads, capacity, D), of which `first:last` are in use.

    With a `window`, attention sees the last `window - 1` positions and the new ones; positions outside the window are
    dropped when the buffer is full, so that it stops growing.
    """

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.is_sliding = window is not None
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self.length = 0
        self.first = 0
        self.last = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate buffers that fit the first keys and values."""
        self._allocate_buffers(key_states, value_states, max(INITIAL_CAPACITY, 2 * key_states.shape[2]))
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Write the new positions; return keys and values of all visible positions."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        visible, new = self._count_visible(), key_states.shape[2]
        if self.last + new > self.keys.shape[2]:
            self._grow_buffers(key_states, value_states, visible)
        begin, end = self.last, self.last + new
        self.keys[:, :, begin:end] = key_states
        self.values[:, :, begin:end] = value_states
        self.last, self.length = end, self.length + new
        return self.keys[:, :, begin - visible : end], self.values[:, :, begin - visible : end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of keys that a query of this length sees, and the position of the first."""
        visible = self._count_visible()
        return visible + query_length, self.length - visible

    def get_seq_length(self) -> int:
        """Return the number of positions written."""
        return self.length

    def get_max_length(self) -> int:
        """Return -1, for no limit."""
        return -1

    def select_rows(self, rows: torch.Tensor, prefix: bool) -> None:
        """Keep `rows`, in that order; if they are a `prefix` of the present rows, as a view."""
        if self.is_initialized:
            count = rows.shape[0]
            self.keys = self.keys[:count] if prefix else self._gather_rows(self.keys, rows)
            self.values = self.values[:count] if prefix else self._gather_rows(self.values, rows)

    def trim_positions(self, count: int) -> None:
        """Drop the first `count` positions."""
        self.length -= count
        self.first = max(self.first, self.last - self.length)

    def _count_visible(self) -> int:
        stored = self.last - self.first
        return stored if self.window is None else min(stored, self.window - 1)

    def _grow_buffers(self, key_states: torch.Tensor, value_states: torch.Tensor, visible: int) -> None:
        inside = slice(self.last - visible, self.last)
        keys, values = self.keys[:, :, inside], self.values[:, :, inside]
        self._allocate_buffers(key_states, value_states, 2 * (visible + key_states.shape[2]))
        self.keys[:, :, :visible], self.values[:, :, :visible] = keys, values
        self.first, self.last = 0, visible

    def _allocate_buffers(self, key_states: torch.Tensor, value_states: torch.Tensor, capacity: int) -> None:
        batch, heads = key_states.shape[:2]
        self.keys = key_states.new_empty((batch, heads, capacity, key_states.shape[3]))
        self.values = value_states.new_empty((batch, heads, capacity, value_states.shape[3]))

    def _gather_rows(self, buffer: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        gathered = buffer.new_empty((rows.shape[0], *buffer.shape[1:]))
        inside = slice(self.first, self.last)
        gathered[:, :, inside] = buffer[:, :, inside].index_select(0, rows)
        return gathered


class GrowingCache(Cache):  # type: ignore[misc]
    """A cache with one `GrowingLayer` per layer; `windows[l]` is the sliding window of layer l, or None."""

    def __init__(self, windows: Sequence[int | None]) -> None:
        super().__init__(layers=[GrowingLayer(window) for window in windows])

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keep `rows` (B',) in every layer, in that order."""
        prefix = bool(torch.equal(rows, torch.arange(rows.shape[0], device=rows.device)))
        for layer in self.layers:
            layer.select_rows(rows, prefix)

    def trim_positions(self, count: int) -> None:
        """Drop the first `count` positions of every row, in every layer."""
        for layer in self.layers:
            layer.trim_positions(count)


def layer_windows(config: Any) -> list[int | None] | None:
    """Return the sliding window of each layer, None if some layer keeps more than keys and values.

    Layers that keep a state (convolutions, recurrences) or share another's keys need the cache of `transformers`.
    """
    windows: list[int | None] = []
    for layer in DynamicCache(config=config).layers:
        if type(layer) is DynamicLayer:
            windows.append(None)
        elif type(layer) is DynamicSlidingWindowLayer:
            windows.append(int(layer.sliding_window))
        else:
            return None
    return windows


def build_kv_cache(config: Any, windows: Sequence[int | None] | None) -> Cache:
    """Return an empty cache: a `GrowingCache` where `windows` are known, else the cache of `transformers`."""
    return DynamicCache(config=config) if windows is None else GrowingCache(windows)


def select_cache_rows(cache: NetworkCache, rows: torch.Tensor) -> None:
    """Keep `rows` (B',) of a cache, in that order and in place."""
    if isinstance(cache, GrowingCache | StateCache):
        cache.select_rows(rows)
    else:
        cache.reorder_cache(rows)
