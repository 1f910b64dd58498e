"""Pools against sessions and plain forward passes: rows that join, leave, are copied and share prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heatbath.models import together as together_module
from heatbath.models.base import Model
from heatbath.models.markov import MarkovModel
from heatbath.models.pool import Pool, pool_of
from heatbath.models.separate import SeparatePool
from heatbath.models.together import TogetherPool
from heatbath.models.urn import UrnModel

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

    def look(self) -> None:
        assert_rows(self.pool, self.model, self.some(min_size=1))

    def run(self, moves: int) -> None:
        self.open()
        for _ in range(moves):
            possible = (
                [self.open, self.push, self.push, self.copy, self.close, self.look] if self.tokens else [self.open]
            )
            self.data.draw(st.sampled_from(possible))()
            assert {row: self.pool.tokens(row) for row in self.pool.rows} == self.tokens
            assert self.pool.stats.rows == len(self.tokens)
        if self.tokens:
            assert_rows(self.pool, self.model, sorted(self.tokens))


@pytest.mark.parametrize("family", TOGETHER)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_run_of_moves(family: str, data: st.DataObject, tiny: Tiny) -> None:
    model = tiny(family)
    pool = pool_of(model, prefix_bytes=data.draw(st.sampled_from([0, 20_000, 1 << 20])))
    assert isinstance(pool, TogetherPool) and not pool.batch_invariant
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together_module, "LEAST_SHARED", 2)
        patch.setattr(together_module, "CHUNK", data.draw(st.sampled_from([3, 512])))
        Play(pool, model, data).run(data.draw(st.integers(1, 12)))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), model=st.sampled_from([MarkovModel.random(0, 5), UrnModel(0.5)]))
def test_any_run_of_moves_on_an_exact_model(data: st.DataObject, model: Model) -> None:
    pool = pool_of(model, prefix_bytes=1 << 20)
    assert isinstance(pool, SeparatePool) and pool.batch_invariant
    Play(pool, model, data).run(data.draw(st.integers(1, 12)))
