"""The prefix cache against a plain list of its entries."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from heatbath.models.pool.prefix_cache import PrefixCache, common_prefix_length

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8)
SALTS = st.sampled_from([b"", b"a"])


def values(tokens: list[int]) -> torch.Tensor:
    """Keys and values that depend on everything up to their position, as a model's do."""
    sums = [float(hash(tuple(tokens[: t + 1])) % 1000) for t in range(len(tokens))]
    return torch.tensor(sums).expand(2, 2, 1, len(tokens))[..., None].expand(2, 2, 1, len(tokens), 3).contiguous()


def found(store: PrefixCache, tokens: list[int], salt: bytes) -> torch.Tensor:
    pieces = store.find(tokens, salt)
    return torch.cat(pieces, dim=3) if pieces else torch.empty(2, 2, 1, 0, 3)


@given(entries=st.lists(st.tuples(TOKENS, SALTS), max_size=8), wanted=TOKENS, salt=SALTS)
def test_the_longest_prefix_is_found(entries: list[tuple[list[int], bytes]], wanted: list[int], salt: bytes) -> None:
    store = PrefixCache(1 << 20)
    for tokens, key in entries:
        store.add(tokens, values(tokens), key)
    longest = max(
        (common_prefix_length(np.array(tokens), np.array(wanted)) for tokens, key in entries if key == salt), default=0
    )
    got = found(store, wanted, salt)
    torch.testing.assert_close(got, values(wanted)[..., :longest, :], atol=0, rtol=0)


@given(entries=st.lists(st.tuples(TOKENS, SALTS), max_size=20), limit=st.integers(0, 1500), data=st.data())
def test_the_size_limit_holds_and_hits_are_correct(
    entries: list[tuple[list[int], bytes]], limit: int, data: st.DataObject
) -> None:
    store = PrefixCache(limit)
    for tokens, key in entries:
        store.add(tokens, values(tokens), key)
        assert 0 <= store.bytes <= limit
        wanted = data.draw(TOKENS)
        got = found(store, wanted, key)
        torch.testing.assert_close(got, values(wanted)[..., : got.shape[3], :], atol=0, rtol=0)
    held = [node for node in store._lru_nodes]
    assert store.bytes == sum(node.values.numel() * 4 + node.tokens.nbytes for node in held)


def test_common_prefixes_are_stored_once() -> None:
    store = PrefixCache(1 << 20)
    store.add([1, 2, 3, 4], values([1, 2, 3, 4]), b"")
    once = store.bytes
    store.add([1, 2, 3, 4], values([1, 2, 3, 4]), b"")
    store.add([1, 2], values([1, 2]), b"")
    assert store.bytes == once
    store.add([1, 2, 5], values([1, 2, 5]), b"")
    assert store.bytes == once * 5 // 4


def test_the_least_recently_used_entry_is_dropped_first() -> None:
    store = PrefixCache(3 * (4 * 3 * 4 + 8))
    for token in (1, 2, 3):
        store.add([token], values([token]), b"")
    store.find([1], b"")
    store.add([4], values([4]), b"")
    assert [len(store.find([token], b"")) for token in (1, 2, 3, 4)] == [1, 0, 1, 1]
