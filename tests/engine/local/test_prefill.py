"""Prompts are read in pieces: running streams go on, those that leave are noticed, and nothing else changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from asking import answers, asked, idle, running, until, within
from transformers import AutoModelForCausalLM, LlamaConfig

from heatbath.engine import generate
from heatbath.engine.base import DeadlineExceeded, Request, Started, TokensGenerated
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.errors import BadInput
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.pretrained_loader import suppress_library_output
from heatbath.models.pool import prefill
from heatbath.models.pool.batched_pool import BatchedPool
from heatbath.models.pool.open_pool import build_pool
from heatbath.models.pool.per_row_pool import PerRowPool

PIECE = 16
LONG = tuple(int(token) for token in np.random.default_rng(0).integers(0, 40, 600))
SHORT = (1, 2, 3, 4, 5)
CONFIG = EngineConfig(warm_up=False)


@cache
def tiny() -> TransformersModel:
    """A random float32 transformer that reads 1,000 tokens."""
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=1000, initializer_range=0.4, eos_token_id=39,
    )  # fmt: skip
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(1)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return TransformersModel(
        module,
        None,
        name="tiny",
        compute_fingerprint=str,
        metadata=ModelMetadata(start=(0,), stop=(39,)),
    )


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Pieces of 16 positions; (rows, width) of every forward pass. A pass takes its time, so that requests meet."""
    build_pool(tiny())
    made: list[tuple[int, int]] = []
    forward = BatchedPool._forward_rows

    def counted(self: Any, rows: Any, width: int) -> Any:
        made.append((len(rows), width))
        time.sleep(0.004)
        return forward(self, rows, width)

    monkeypatch.setattr(prefill.PieceTimer, "fit_positions", lambda self, seconds: PIECE)
    monkeypatch.setattr(BatchedPool, "_forward_rows", counted)
    yield made


def request(prompt: tuple[int, ...], id: str, **more: Any) -> Request:
    return Request(prompt, id, **({"max_tokens": 10, "ignore_eos": True, "seed": 3} | more))


async def token_times(engine: LocalEngine, asked_for: Request, passes: list[Any]) -> list[int]:
    """Return the number of forward passes made when each token came."""
    times: list[int] = []
    async for event in engine.submit(asked_for):
        if isinstance(event, TokensGenerated):
            times += [len(passes)] * len(event.tokens)
    return times


def test_a_long_prompt_stalls_no_stream(passes: list[tuple[int, int]]) -> None:
    async def ask() -> list[int]:
        async with running(tiny(), CONFIG) as engine:
            stream = asyncio.create_task(token_times(engine, request(SHORT, "stream", max_tokens=80), passes))
            await until(lambda: len(passes) > 3, 30)
            await asked(engine, request(LONG, "long"))
            return await stream

    within(90, ask)
    pieces = [at for at, (_, width) in enumerate(passes) if width > 1]
    assert {rows * width for rows, width in passes if width > 1} == {4, PIECE, len(LONG) % PIECE - 1}
    assert (np.diff(pieces[1:]) == 2).all() and len(pieces) == 2 + len(LONG) // PIECE  # a step between any two


def test_a_short_prompt_passes_a_long_one(passes: list[tuple[int, int]]) -> None:
    async def ask() -> tuple[int, int]:
        async with running(tiny(), CONFIG) as engine:
            long = asyncio.create_task(token_times(engine, request(LONG, "long"), passes))
            await until(lambda: len(passes) > 3, 30)
            before = len(passes)
            short = await token_times(engine, request(SHORT, "short"), passes)
            return short[0] - before, (await long)[0]

    wait, long = within(90, ask)
    assert wait < 12 < len(LONG) // PIECE < long


def test_leaving_is_noticed_at_the_next_piece(passes: list[tuple[int, int]]) -> None:
    async def ask() -> None:
        async with running(tiny(), CONFIG) as engine:
            task = asyncio.create_task(asked(engine, request(LONG, "left")))
            await until(lambda: len(passes) > 3, 30)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await idle(engine)

    within(90, ask)
    assert len(passes) < len(LONG) // PIECE - 5


def test_a_deadline_is_noticed_at_the_next_piece(passes: list[tuple[int, int]]) -> None:
    async def ask() -> None:
        async with running(tiny(), CONFIG) as engine:
            with pytest.raises(DeadlineExceeded, match="did not finish"):
                await asked(engine, request(LONG, "late", deadline=0.05))
            await idle(engine)
            assert engine.stats.rows == 0

    within(90, ask)
    assert len(passes) < len(LONG) // PIECE - 5


@pytest.mark.parametrize("sampler", ["ancestral", "greedy", "smc", "power"])
def test_results_are_those_of_whole_prompts(passes: list[tuple[int, int]], sampler: str) -> None:
    options = {"smc": {"particles": 3}, "power": {"method": "metropolis", "chains": 2, "sweeps": 2, "alpha": 2}}
    one = partial(request, sampler=sampler, options=options.get(sampler, {}), max_tokens=6)
    n = 3 if sampler == "ancestral" else 1
    found = answers(tiny(), [one(LONG, "long", n=n), one(LONG[:90], "other", n=n), one(SHORT, "short")], CONFIG)
    for each, prompt in zip(found, (LONG, LONG[:90], SHORT), strict=True):
        wanted = generate(
            tiny(), list(prompt), n=n if prompt is not SHORT else 1, sampler=sampler, max_tokens=6, seed=3,
            ignore_eos=True, **options.get(sampler, {}),
        )  # fmt: skip
        assert sorted(each.sequences) == sorted(map(list, wanted.sequences))


def test_a_burst_of_short_prompts_is_read_before_the_first_step(passes: list[tuple[int, int]]) -> None:
    requests = [request((number, *SHORT), str(number), max_tokens=3) for number in range(12)]
    answers(tiny(), requests, CONFIG)
    first_step = next(at for at, (_, width) in enumerate(passes) if width == 1)
    assert passes[first_step][0] >= 10


def test_the_prefix_cache_takes_what_was_read(passes: list[tuple[int, int]]) -> None:
    async def ask() -> int:
        async with running(tiny(), CONFIG) as engine:
            task = asyncio.create_task(asked(engine, request(LONG, "left")))
            await until(lambda: len(passes) > 5, 30)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await idle(engine)
            async with aclosing(engine.submit(request(LONG, "again"))) as events:
                async for event in events:
                    assert isinstance(event, Started)
                    return event.cached_tokens
        raise AssertionError

    assert within(90, ask) >= 4 * PIECE


def test_models_with_a_session_for_each_row_read_in_chunks_too() -> None:
    pool = PerRowPool(tiny(), batch_invariant=True)
    rows = pool.open([LONG, SHORT])
    pieces = 0
    while pool.read_piece():
        pieces += 1
    assert pieces >= 4 and not pool.count_unread()
    for row, prompt in zip(rows, (LONG, SHORT), strict=True):
        torch.testing.assert_close(pool.energies([row])[0], tiny().open([prompt]).energies()[0], atol=2e-4, rtol=0)


def test_pieces_fit_the_time_they_are_given() -> None:
    timer = prefill.PieceTimer()
    for _ in range(20):
        timer.record(0.002 * 64, 64)
    assert timer.fit_positions(0.1) == 32 and timer.fit_positions(0.0) == prefill.MIN_PIECE_POSITIONS
    assert timer.fit_positions(None) == timer.fit_positions(1e9) == prefill.PREFILL_CHUNK


def test_the_time_of_a_piece_is_above_zero() -> None:
    with pytest.raises(BadInput, match="`prefill_seconds` must be above 0"):
        EngineConfig(prefill_seconds=0.0)
