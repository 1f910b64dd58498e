"""Pools against sessions and plain forward passes: rows that join, leave, are copied and share prefixes."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.models.base import Model
from heatbath.models.exact.markov import MarkovModel
from heatbath.models.exact.urn import UrnModel
from heatbath.models.pool import prefill as prefill_module
from heatbath.models.pool.base import Pool
from heatbath.models.pool.batched_pool import BatchedPool
from heatbath.models.pool.open_pool import build_pool
from heatbath.models.pool.per_row_pool import PerRowPool
from heatbath.models.pool.prefill import split_by_length
from heatbath.models.pool.slot_kv_cache import MIN_SLOTS, SlotBuffer, SlotLayout

TOGETHER = ["llama", "mistral", "gemma3", "gemma2", "gpt2"]
TOLERANCE = 2e-4
Tiny = Callable[[str], Any]
SYSTEM = list(range(100, 140))


def expected(model: Model, tokens: Sequence[int]) -> Any:
    return model.open([tokens]).energies()[0]


def assert_rows(pool: Pool, model: Model, rows: Sequence[int]) -> None:
    energies = pool.energies(rows)
    assert energies.shape == (len(rows), model.vocabulary.size)
    for got, row in zip(energies, rows, strict=True):
        wanted = expected(model, pool.tokens(row))
        if isinstance(got, torch.Tensor):
            torch.testing.assert_close(got, wanted, atol=TOLERANCE, rtol=0)
        else:
            np.testing.assert_array_equal(got, wanted)


class Play:
    """Random moves on a pool, and what its rows must hold."""

    def __init__(self, pool: Pool, model: Model, data: st.DataObject) -> None:
        self.pool, self.model, self.data = pool, model, data
        self.tokens: dict[int, list[int]] = {}

    def some(self, **limits: int) -> list[int]:
        rows = st.lists(st.sampled_from(sorted(self.tokens)), unique=True, **limits)
        return self.data.draw(rows)

    def open(self) -> None:
        token = st.integers(0, min(5, self.model.vocabulary.size - 1))
        prompts = self.data.draw(st.lists(st.lists(token, min_size=1, max_size=12), min_size=1, max_size=3))
        salt = self.data.draw(st.sampled_from([b"", b"other"]))
        self.tokens |= dict(zip(self.pool.open(prompts, salt=salt), map(list, prompts), strict=True))

    def push(self) -> None:
        rows = self.some()
        tokens = [self.data.draw(st.integers(0, self.model.vocabulary.size - 1)) for _ in rows]
        self.pool.push(rows, tokens)
        for row, token in zip(rows, tokens, strict=True):
            self.tokens[row].append(token)

    def copy(self) -> None:
        row = self.data.draw(st.sampled_from(sorted(self.tokens)))
        self.tokens[self.pool.copy(row)] = list(self.tokens[row])

    def close(self) -> None:
        rows = self.some(max_size=2)
        self.pool.close(rows, keep=self.data.draw(st.booleans()))
        for row in rows:
            del self.tokens[row]

    def read(self) -> None:
        unread = self.pool.count_unread()
        assert self.pool.read_piece(self.data.draw(st.sampled_from([None, 0.0, 0.01]))) or not unread
        assert self.pool.count_unread() < unread or not unread

    def look(self) -> None:
        assert_rows(self.pool, self.model, self.some(min_size=1))

    def run(self, count: int) -> None:
        self.open()
        for _ in range(count):
            possible = (
                [self.open, self.push, self.push, self.copy, self.close, self.look, self.read]
                if self.tokens
                else [self.open]
            )
            self.data.draw(st.sampled_from(possible))()
            assert {row: self.pool.tokens(row) for row in self.pool.rows} == self.tokens
            assert self.pool.stats.rows == len(self.tokens)
        if self.tokens:
            assert_rows(self.pool, self.model, sorted(self.tokens))


@pytest.mark.parametrize("family", TOGETHER)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_run_of_operations(family: str, data: st.DataObject, tiny: Tiny) -> None:
    model = tiny(family)
    pool = build_pool(model, prefix_bytes=data.draw(st.sampled_from([0, 20_000, 1 << 20])))
    assert isinstance(pool, BatchedPool) and not pool.batch_invariant
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefill_module, "MIN_SHARED_TOKENS", 2)
        patch.setattr(prefill_module, "PREFILL_CHUNK", data.draw(st.sampled_from([3, 512])))
        patch.setattr(pool, "_columns_of_pass", data.draw(st.sampled_from([0, 5, np.inf])))
        Play(pool, model, data).run(data.draw(st.integers(1, 12)))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), model=st.sampled_from([MarkovModel.random(0, 5), UrnModel(0.5)]))
def test_any_run_of_operations_on_an_exact_model(data: st.DataObject, model: Model) -> None:
    pool = build_pool(model, prefix_bytes=1 << 20)
    assert isinstance(pool, PerRowPool) and pool.batch_invariant
    Play(pool, model, data).run(data.draw(st.integers(1, 12)))


@given(lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=20), columns=st.floats(0, 20_000))
def test_rows_of_a_step_are_split_by_length(lengths: list[int], columns: float) -> None:
    rows: list[Any] = [SimpleNamespace(evaluated_tokens=length) for length in lengths]
    groups = split_by_length(rows, columns)
    assert [row.evaluated_tokens for group in groups for row in group] == sorted(lengths)
    assert len({id(row) for group in groups for row in group}) == len(rows)
    for group in groups:
        longest = group[-1].evaluated_tokens
        assert all(place * (longest - group[place - 1].evaluated_tokens) <= columns for place in range(1, len(group)))


def test_short_rows_do_not_read_the_padding_of_a_long_one(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    pool = build_pool(model)
    assert isinstance(pool, BatchedPool)
    passes: list[tuple[int, int]] = []
    forward = pool._forward_rows

    def count(rows: Sequence[Any], width: int) -> Any:
        passes.append((len(rows), width))
        return forward(rows, width)

    monkeypatch.setattr(pool, "_forward_rows", count)
    rows = pool.open([[1, 2], SYSTEM, [3, 4], [5, 6, 7]])
    while pool.read_piece():
        pass
    passes.clear()
    pool.energies(rows)
    assert passes == [(4, 1)], "the weights of this model cost more than the padding"
    pool.push(rows, [1, 2, 3, 4])
    monkeypatch.setattr(pool, "_columns_of_pass", 3 * len(SYSTEM) / 2)
    passes.clear()
    assert_rows(pool, model, rows)
    assert passes == [(3, 1), (1, 1)]


def test_other_salts_are_invisible(tiny: Tiny) -> None:
    pool = build_pool(tiny("llama"), prefix_bytes=1 << 20)
    rows = pool.open([SYSTEM], salt=b"one")
    pool.energies(rows)
    pool.close(rows)
    same, other, none = (*pool.open([SYSTEM], salt=b"one"), *pool.open([SYSTEM], salt=b"two"), *pool.open([SYSTEM]))
    assert [pool.cached_tokens(row) for row in (same, other, none)] == [len(SYSTEM) - 1, 0, 0]
    pool.energies([same, other, none])
    assert [pool.cached_tokens(row) for row in (same, other, none)] == [len(SYSTEM) - 1, 0, 0]
    assert_rows(pool, tiny("llama"), [same, other, none])


@pytest.mark.parametrize("family", TOGETHER)
def test_a_prefix_is_read_once_and_gives_the_same_energies(family: str, tiny: Tiny) -> None:
    model = tiny(family)
    pool = build_pool(model, prefix_bytes=1 << 20)
    rows = pool.open([[*SYSTEM, 1, 2]])
    assert_rows(pool, model, rows)
    pool.push(rows, [3])
    pool.energies(rows)
    pool.close(rows)
    prompts = [[*SYSTEM, 1, 2, 3, 4, 5], [*SYSTEM, 9], [*SYSTEM[:30], 7, 7], SYSTEM[:10], [5]]
    rows = pool.open(prompts)
    assert [pool.cached_tokens(row) for row in rows] == [43, 40, 30, 9, 0]
    assert_rows(pool, model, rows)
    assert pool.stats.prefix_hit == 43 + 40 + 30 + 9
    assert pool.stats.prefix_asked == 42 + sum(map(len, prompts))


def test_prompts_opened_together_share_their_common_prefix(tiny: Tiny) -> None:
    model = tiny("llama")
    pool = build_pool(model, prefix_bytes=1 << 20)
    rows = [row for last in range(4) for row in pool.open([[*SYSTEM, last]])]
    assert_rows(pool, model, rows)
    assert sorted(pool.cached_tokens(row) for row in rows) == [0, 40, 40, 40]


def test_a_cache_of_size_zero_stores_nothing(tiny: Tiny) -> None:
    pool = build_pool(tiny("llama"))
    for _ in range(2):
        rows = pool.open([SYSTEM, SYSTEM])
        pool.energies(rows)
        assert [pool.cached_tokens(row) for row in rows] == [0, 0]
        pool.close(rows)
    assert pool.stats.prefix_bytes == 0


def test_closing_without_keep_caches_nothing(tiny: Tiny) -> None:
    pool = build_pool(tiny("llama"), prefix_bytes=1 << 20)
    rows = pool.open([[1]])
    pool.energies(rows)
    for token in (2, 3, 4):
        pool.push(rows, [token])
        pool.energies(rows)
    pool.close(rows, keep=False)
    assert pool.stats.prefix_bytes == 0


def test_a_broken_row_leaves_nothing_behind(tiny: Tiny) -> None:
    model = tiny("llama")
    pool = build_pool(model)
    assert isinstance(pool, BatchedPool)
    rows = pool.open([SYSTEM, [1, 2, 3]])
    pool.energies(rows)
    with torch.inference_mode():
        pool._slots.buffer[:, :, 0] = torch.nan
    pool.close(rows[:1], keep=False)
    rows = [rows[1], *pool.open([[4, 5], SYSTEM])]
    assert_rows(pool, model, rows)
    pool.push(rows, [1, 1, 1])
    assert_rows(pool, model, rows)


def test_the_last_row_moves_into_the_slot_of_a_closed_one(tiny: Tiny) -> None:
    model = tiny("mistral")
    pool = build_pool(model)
    assert isinstance(pool, BatchedPool)
    rows = pool.open([[token] * (token + 1) for token in range(6)])
    pool.energies(rows)
    pool.close([rows[0], rows[5], rows[2]])
    left = [rows[1], rows[3], rows[4]]
    assert sorted(row.slot for row in pool._rows.values()) == [0, 1, 2]
    assert pool.rows == left
    pool.push(left, [7, 8, 9])
    assert_rows(pool, model, left)
    assert_rows(pool, model, left[::-1])


def test_memory_follows_the_rows_in_use(tiny: Tiny) -> None:
    model = tiny("llama")
    pool = build_pool(model)
    assert isinstance(pool, BatchedPool)
    rows = pool.open([[1, 2]] * 200)
    assert pool._slots.buffer.shape[2] >= 200
    pool.energies(rows)
    pool.close(rows)
    few = pool.open([[3, 4]])
    assert pool._slots.buffer.shape[2] <= 2 * MIN_SLOTS
    for token in range(90):
        pool.push(few, [token])
        pool.energies(few)
    assert_rows(pool, model, few)


def test_rows_without_a_pending_token_take_part_or_are_left_out(tiny: Tiny) -> None:
    model = tiny("llama")
    pool = build_pool(model)
    rows = pool.open([[1, 2, 3], [4], [5, 6], [7, 8], [9]])
    before = pool.energies(rows)
    pool.push(rows[1:4], [1, 2, 3])
    after = pool.energies(rows)
    torch.testing.assert_close(after[[0, 4]], before[[0, 4]], atol=TOLERANCE, rtol=0)
    pool.push([rows[4]], [6])
    pool.push([rows[0]], [6])
    assert_rows(pool, model, rows)
    pool.push([rows[4]], [6])
    assert_rows(pool, model, rows)


def test_a_row_may_reach_the_end_of_the_context_beside_others(tiny: Tiny) -> None:
    for family in ("gpt2", "llama"):
        model = tiny(family)
        pool = build_pool(model)
        rows = pool.open([[1] * 95, [2]])
        pool.push(rows, [3, 3])
        assert_rows(pool, model, rows)
        pool.push(rows[1:], [4])
        assert_rows(pool, model, rows)
        with pytest.raises(BadInput, match="97 tokens are more than the 96"):
            pool.push(rows, [4, 4])
        assert len(pool.tokens(rows[1])) == 3


def test_energies_asked_for_twice_are_the_same_array(tiny: Tiny) -> None:
    pool = build_pool(tiny("llama"))
    rows = pool.open([[1], [2]])
    assert pool.energies(rows) is pool.energies(rows)
    assert pool.energies(rows) is not pool.energies(rows[::-1])


def test_layers_with_a_state_get_a_session_per_row(tiny: Tiny) -> None:
    model = tiny("qwen3next")
    pool = build_pool(model, prefix_bytes=1 << 20)
    assert isinstance(pool, PerRowPool) and pool.batch_invariant
    rows = pool.open([[1, 2, 3], [4]])
    rows.append(pool.copy(rows[0]))
    pool.push(rows[:2], [5, 6])
    assert_rows(pool, model, rows)


def test_an_empty_prompt_is_the_document_start(tiny: Tiny) -> None:
    pool = build_pool(tiny("llama"))
    assert pool.tokens(pool.open([[]])[0]) == [256]


@pytest.mark.parametrize("of", ["llama", "markov"])
def test_bad_input(of: str, tiny: Tiny) -> None:
    pool = build_pool(tiny("llama") if of == "llama" else MarkovModel.random(0, 5))
    rows = pool.open([[1, 2], [3]])
    for call in (
        pool.cached_tokens,
        pool.tokens,
        pool.copy,
        lambda row: pool.close([row]),
        lambda row: pool.energies([row]),
    ):
        with pytest.raises(BadInput, match="row 7 is not open"):
            call(7)
    with pytest.raises(BadInput, match="one token id for each of 2 rows"):
        pool.push(rows, [1])
    with pytest.raises(BadInput, match="names a row twice"):
        pool.push([rows[0], rows[0]], [1, 1])
    with pytest.raises(BadInput, match="token id 999 is outside"):
        pool.push(rows, [1, 999])
    with pytest.raises(BadInput, match="no rows"):
        pool.energies([])
    with pytest.raises(BadInput):
        pool.open([[1], [999]])
    assert [pool.tokens(row) for row in rows] == [[1, 2], [3]] and list(pool.rows) == rows


def test_memory_of_positions_is_given_back() -> None:
    slots = SlotBuffer(SlotLayout((None, None), None, 2, 8, torch.float32, torch.device("cpu")))
    slots.reserve([], 3, 1000)
    slots.buffer.fill_(1.0)
    slots.release_positions(1, 400, 900)
    page = 4096 // (8 * 4)
    assert (slots.buffer[:, :, 1, :, :400] == 1).all() and (slots.buffer[:, :, 1, :, 900:] == 1).all()
    assert not slots.buffer[:, :, 1, :, 400 + page : 900 - page].any()
    assert (slots.buffer[:, :, [0, 2]] == 1).all()


def test_an_empty_buffer_takes_no_memory() -> None:
    """A row of 100,000 positions beside fifteen empty ones: 3 GB of zeros, of which little is there."""
    before = resident_bytes()
    slots = SlotBuffer(SlotLayout((None,) * 8, None, 3, 64, torch.bfloat16, torch.device("cpu")))
    slots.reserve([], 16, 100_000)
    slots.write_slot(3, 0, torch.ones(8, 2, 3, 50, 64, dtype=torch.bfloat16))
    assert slots.buffer.numel() * 2 > 5e9 and resident_bytes() - before < 50e6


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
