"""What goes wrong in one request ends that one; what goes wrong in the model ends a step; nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from asking import Answered, answers, asked, idle, running, until, within

from heatbath.engine import generate
from heatbath.engine.base import ComponentSpec, Request, Unavailable
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.errors import BadInput, HeatbathError, ModelError, NotANumber
from heatbath.models import MarkovModel
from heatbath.models.pool.base import Pool
from heatbath.models.pool.open_pool import build_pool

CHAIN = MarkovModel(np.random.default_rng(5).normal(size=(4, 4)))


class Cracked(MarkovModel):
    """Gives NaN after token 3."""

    def next_energies(self, state: Any) -> Any:
        energies = super().next_energies(state).copy()
        energies[np.asarray(state)[:, 0] == 3] = np.nan
        return energies


class Failing:
    """A pool that fails at the `at`-th time it is asked for energies."""

    def __init__(self, pool: Pool, at: int) -> None:
        self._pool, self._left = pool, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def energies(self, rows: Sequence[int]) -> Any:
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("out of memory at /secret/path")
        return self._pool.energies(rows)


def failing(*times: int) -> Any:
    left = list(times)
    return lambda: Failing(build_pool(CHAIN), left.pop(0)) if left else build_pool(CHAIN)


async def gathered(engine: LocalEngine, requests: Sequence[Request]) -> list[Any]:
    return await asyncio.gather(*(asked(engine, request) for request in requests), return_exceptions=True)


def outcomes(model: Any, requests: Sequence[Request], **more: Any) -> list[Any]:
    async def ask() -> list[Any]:
        async with running(model, **more) as engine:
            found = await gathered(engine, requests)
            await idle(engine)
            return found

    return within(60, ask)


def test_nan_in_one_answer_leaves_the_others_as_they_were() -> None:
    energies = np.random.default_rng(5).normal(size=(4, 4))
    # From 0 and 1 there is no way to 3, so that who begins there is safe.
    energies[:2, 2:] = np.inf
    model = Cracked(energies)
    requests = [Request((i % 4,), str(i), n=2, seed=i, max_tokens=20, record=("state", None)[i % 2]) for i in range(16)]
    found = outcomes(model, requests)
    for request, answered in zip(requests, found, strict=True):
        if request.prompt[0] < 2:
            whole = generate(model, list(request.prompt), n=2, seed=request.seed, max_tokens=20)
            assert answered.sequences == whole.sequences
    broken = [error for error in found if not isinstance(error, Answered)]
    assert len(broken) >= 4 and all(isinstance(error, NotANumber) for error in broken)
    assert all("gave NaN at generated token" in str(error) for error in broken)


def test_a_field_that_leaves_nothing_ends_its_request_alone() -> None:
    everything = ComponentSpec("forbid_tokens", [0, 1, 2, 3])
    late = ComponentSpec("forbid_tokens", {"tokens": [0, 1, 2, 3], "after": 4})
    requests = [Request((0,), str(i), seed=i, max_tokens=12) for i in range(6)]
    requests += [Request((0,), "never", fields=(everything,)), Request((0,), "later", fields=(late,))]
    requests += [Request((0,), "beam", sampler="beam", fields=(late,), max_tokens=9)]
    *fine, never, later, beam = outcomes(CHAIN, requests)
    for error in (never, later, beam):
        assert isinstance(error, BadInput) and "forbid" in str(error)
    for request, answered in zip(requests, fine, strict=False):
        assert answered.sequences == generate(CHAIN, [0], seed=request.seed, max_tokens=12).sequences


def test_a_failure_of_the_model_ends_those_in_the_step_and_the_engine_goes_on() -> None:
    async def ask() -> None:
        # Late enough that all four run by then, on a busy machine too.
        async with running(CHAIN, pool_factory=failing(300, 250)) as engine:
            for _ in range(2):
                requests = [Request((0,), str(i), max_tokens=1000) for i in range(3)]
                requests += [Request((0,), "beam", sampler="beam", max_tokens=1000)]
                for error in await gathered(engine, requests):
                    assert isinstance(error, ModelError) and "secret" not in str(error)
                assert engine.unavailable_reason is None
                await idle(engine)
            answered = await asked(engine, Request((0,), "after", max_tokens=5, seed=1))
            assert answered.sequences == generate(CHAIN, [0], max_tokens=5, seed=1).sequences

    within(30, ask)


def test_when_the_thread_dies_nobody_waits_for_it() -> None:
    made = [Failing(build_pool(CHAIN), 4)]

    async def ask() -> None:
        engine = LocalEngine(CHAIN, config=EngineConfig(max_rows=2, warm_up=False), pool_factory=lambda: made.pop())
        await engine.start()
        found = await gathered(engine, [Request((0,), str(i), max_tokens=50) for i in range(6)])
        assert all(isinstance(error, HeatbathError) for error in found)
        assert any(isinstance(error, Unavailable) for error in found)
        assert engine.unavailable_reason is not None and "died" in engine.unavailable_reason
        with pytest.raises(Unavailable, match="died"):
            await asked(engine, Request((0,), "late"))
        await engine.close()

    within(30, ask)


def test_a_model_that_cannot_be_pooled_is_told_at_the_start() -> None:
    def pools() -> Pool:
        raise ModelError("no room for the weights: take a smaller model.")

    async def ask() -> None:
        engine = LocalEngine(CHAIN, pool_factory=pools)
        with pytest.raises(ModelError, match="smaller model"):
            await engine.start()
        assert engine.unavailable_reason is not None

    within(10, ask)


def test_an_observer_that_fails_changes_nothing() -> None:
    class Broken:
        frames = 0

        def update(self, frame: Any) -> None:
            self.frames += 1
            raise RuntimeError("no")

    broken = Broken()
    (answered,) = answers(CHAIN, [Request((0,), "x", max_tokens=5, seed=2)], observers=[broken])
    assert answered.sequences == generate(CHAIN, [0], max_tokens=5, seed=2).sequences
    assert broken.frames == 5


def test_a_loop_that_closes_takes_the_thread_with_it() -> None:
    engines: list[LocalEngine] = []

    async def ask() -> None:
        engine = LocalEngine(CHAIN, config=EngineConfig(warm_up=False))
        await engine.start()
        engines.append(engine)
        stream = engine.submit(Request((0,), "x", max_tokens=100000))
        await anext(stream)

    asyncio.run(ask())
    thread = engines[0]._thread
    assert thread is not None
    thread.join(5)
    assert not thread.is_alive()


def test_rows_that_samplers_drop_are_freed_while_they_run() -> None:
    async def ask() -> None:
        async with running(CHAIN) as engine:
            options = {"method": "lookahead", "n": 2, "candidates": 2, "rollouts": 2, "horizon": 4, "block": 2}
            request = Request((0,), "x", sampler="power", options=options, max_tokens=40)
            most = 0

            async def look() -> None:
                nonlocal most
                while True:
                    most = max(most, engine.stats.rows)
                    await asyncio.sleep(0.001)

            looking = asyncio.create_task(look())
            await asked(engine, request)
            looking.cancel()
            assert 2 <= most <= 32
            await until(lambda: engine.stats.rows == 0)

    within(30, ask)
