"""Who is next, who is refused, and who runs out of time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asking import Answered, answers, asked, idle, running, until, within

from heatbath.engine.base import ComponentSpec, DeadlineExceeded, Overloaded, Request, Unavailable
from heatbath.engine.fair_queue import FairQueue, QueueClaim
from heatbath.engine.local import EngineConfig
from heatbath.engine.local.request_compiler import build_batch_key
from heatbath.errors import BadInput
from heatbath.models import MarkovModel

CHAIN = MarkovModel(np.random.default_rng(5).normal(size=(4, 4)))
NARROW = EngineConfig(max_rows=2, warm_up=False)


class Slow(MarkovModel):
    """Takes its time over every step."""

    pause = 0.003

    def next_energies(self, state: Any) -> Any:
        time.sleep(self.pause)
        return super().next_energies(state)


SLOW = Slow(np.random.default_rng(5).normal(size=(4, 4)))


def filled(claims: list[QueueClaim]) -> list[int]:
    queue: FairQueue[int] = FairQueue()
    for number, claim in enumerate(claims):
        queue.reserve(100, 0)
        queue.push(number, claim)
    return [number for _ in claims if (number := queue.pop(lambda _: True)) is not None]


def test_a_tenant_of_many_does_not_starve_one_of_few() -> None:
    order = filled([QueueClaim("many", 0, 10)] * 20 + [QueueClaim("few", 0, 10)] * 2)
    assert order.index(20) <= 2 and order.index(21) <= 4
    assert filled([QueueClaim("one", 0, 10)] * 20) == list(range(20))


def test_shares_are_of_tokens_not_of_requests() -> None:
    order = filled([QueueClaim("long", 0, 100)] * 5 + [QueueClaim("short", 0, 10)] * 20)
    before_second_long = order[: order.index(1)]
    assert 9 <= sum(number >= 5 for number in before_second_long) <= 11


def test_a_lower_priority_comes_first() -> None:
    assert filled([QueueClaim("a", 5, 1), QueueClaim("b", 0, 1000), QueueClaim("a", -1, 1)]) == [2, 1, 0]


def test_what_is_large_is_not_passed_by() -> None:
    queue: FairQueue[int] = FairQueue()
    for size in (9, 1):
        queue.reserve(10, 0)
        queue.push(size, QueueClaim("a", 0, 1))
    assert queue.pop(lambda size: size < 5) is None
    assert queue.pop(lambda size: True) == 9 and len(queue) == 1


def order_of(requests: list[Request]) -> list[str]:
    """The order in which requests end on an engine of two rows that is busy when they come."""
    ended: list[str] = []

    async def ask() -> list[str]:
        async with running(SLOW, NARROW) as engine:
            busy = [asyncio.create_task(asked(engine, Request((0,), "busy", n=2, max_tokens=20)))]
            await until(lambda: engine.stats.rows == 2)

            async def one(request: Request) -> None:
                await asked(engine, request)
                ended.append(request.id)

            await asyncio.gather(*busy, *map(one, requests))
            await idle(engine)
        return ended

    return within(60, ask)


def test_tenants_share_the_rows() -> None:
    many = [Request((0,), f"many{i}", tenant="many", n=2, max_tokens=5) for i in range(25)]
    few = [Request((0,), f"few{i}", tenant="few", n=2, max_tokens=5) for i in range(2)]
    order = order_of(many + few)
    assert order.index("few0") <= 3 and order.index("few1") <= 6


def test_priorities_hold_in_the_engine() -> None:
    late = [Request((0,), str(priority), n=2, max_tokens=3, priority=priority) for priority in (3, 1, 2, 0)]
    assert order_of(late) == ["0", "1", "2", "3"]


def test_a_full_queue_says_when_to_come_again() -> None:
    async def ask() -> None:
        async with running(SLOW, EngineConfig(max_rows=1, max_waiting=2, warm_up=False)) as engine:
            tasks = [asyncio.create_task(asked(engine, Request((0,), str(i), max_tokens=20))) for i in range(8)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            refused = [result for result in results if isinstance(result, Overloaded)]
            assert len(refused) == 5 and all(1 <= error.retry_after <= 120 for error in refused)
            assert sum(isinstance(result, Answered) for result in results) == 3
            await idle(engine)

    within(30, ask)


def test_waiting_has_a_deadline_and_running_keeps_what_it_has() -> None:
    async def ask() -> None:
        async with running(SLOW, EngineConfig(max_rows=2)) as engine:
            long = asyncio.create_task(asked(engine, Request((0,), "long", n=2, max_tokens=100000, deadline=0.6)))
            await until(lambda: engine.stats.rows == 2)
            with pytest.raises(DeadlineExceeded, match="waited"):
                await asked(engine, Request((0,), "late", deadline=0.1))
            answered = await long
            assert answered.finish(0) == answered.finish(1) == "deadline"
            assert len(answered.ids(0)) == len(answered.ids(1)) > 1
            assert answered.ended.tokens_spent == 2 * len(answered.ids())
            with pytest.raises(DeadlineExceeded, match="did not finish"):
                await asked(
                    engine, Request((0,), "whole", max_tokens=5000, sampler="beam", deadline=0.2, options={"width": 2})
                )
            await idle(engine)

    within(30, ask)


@pytest.mark.parametrize("sampler", ["ancestral", "beam"])
def test_closing_a_stream_frees_its_rows(sampler: str) -> None:
    async def ask() -> None:
        async with running(SLOW) as engine:
            options = {"width": 3} if sampler == "beam" else {}
            request = Request((0,), "x", n=1 if options else 3, max_tokens=100000, sampler=sampler, options=options)
            task = asyncio.create_task(asked(engine, request))
            await until(lambda: engine.stats.rows == 3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await idle(engine)
            if not options:
                stream = engine.submit(request)
                for _ in range(5):
                    await anext(stream)
                await stream.aclose()
                await idle(engine)

    within(30, ask)


def test_a_cancelled_request_that_waits_leaves_the_queue() -> None:
    async def ask() -> None:
        async with running(SLOW, NARROW) as engine:
            busy = asyncio.create_task(asked(engine, Request((0,), "busy", n=2, max_tokens=60)))
            await until(lambda: engine.stats.rows == 2)
            waiting = asyncio.create_task(asked(engine, Request((0,), "waiting")))
            await until(lambda: engine.stats.waiting == 1)
            waiting.cancel()
            await until(lambda: engine.stats.waiting == 0)
            assert (await busy).finish() == "length"

    within(30, ask)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"n": 3}, "needs 3 rows"),
    ({"n": 0}, "n is 0"),
    ({"prompt": (9,)}, "token id 9"),
    ({"prompt": (-1,)}, "token id -1"),
    ({"stop_token_ids": (7,)}, "stop_token_ids holds 7"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"temperature": float("nan")}, "temperature"),
    ({"temperature": -1.0}, "temperature"),
    ({"seed": -1}, "seed"),
    ({"deadline": 0.0}, "deadline"),
    ({"deadline": float("nan")}, "deadline"),
    ({"top_logprobs": -1}, "top_logprobs"),
    ({"record": "all"}, "record"),
    ({"sampler": "magic"}, "no sampler 'magic'"),
    ({"options": {"width": 3}}, "width"),
    (
        {"sampler": "beam", "options": {"width": 1.5}},
        "the beam sampler cannot take width=1.5: give a whole number from 1 to 4096",
    ),
    ({"sampler": "smc"}, "needs 64 rows"),
    ({"sampler": "smc", "options": {"particles": 2, "replicates": 1}, "n": 2}, "takes no n"),
    ({"potentials": (ComponentSpec("length", 3),)}, "weighs no potentials"),
    ({"potentials": (ComponentSpec("function", "os:getcwd"),), "sampler": "best-of"}, "no potential 'function'"),
    ({"fields": (ComponentSpec("product", "smollm2-135m"),)}, "no field 'product'"),
    ({"fields": (ComponentSpec("mixture", "x"),)}, "no field 'mixture'"),
    ({"fields": (ComponentSpec("repetition", "@/etc/passwd"),)}, "repetition"),
    ({"fields": (ComponentSpec("repetition", {"penalty": 1.1, "other": 2}),)}, "repetition"),
    ({"fields": (ComponentSpec("bias", {"nothing": 2.0}),)}, "no symbol"),
    ({"fields": (ComponentSpec("max_entropy", {"features": {}, "lambdas": [0.0] * 1000}),)}, "1000 features"),
    ({"fields": (ComponentSpec("forbid", "x" * 200000),)}, "characters"),
    ({"windows": (ComponentSpec("top_p", 2.0),)}, "top_p"),
    ({"windows": (ComponentSpec("top_p", None),)}, "window top_p needs a value"),
    ({"windows": (ComponentSpec("top_q", 0.5),)}, "top_p"),
    ({"sampler": "greedy", "windows": (ComponentSpec("top_k", 2),)}, "greedy"),
    ({"schedule": ComponentSpec("linear", {"start": -1, "end": 0})}, "temperature"),
    ({"stop": ("",)}, "stop"),
]


@pytest.mark.parametrize(("settings", "told"), BAD, ids=[told for _, told in BAD])
def test_what_makes_no_sense_is_refused_in_words(settings: dict[str, Any], told: str) -> None:
    async def ask() -> None:
        async with running(CHAIN, NARROW) as engine:
            with pytest.raises(BadInput, match=told) as caught:
                await asked(engine, Request(**{"prompt": (0,), "id": "x", **settings}))
            assert "\n" not in str(caught.value) and "/src/" not in str(caught.value)
            assert engine.stats.waiting == engine.stats.running == 0
            assert (await asked(engine, Request((0,), "fine", max_tokens=3))).finish() == "length"

    within(20, ask)


def test_before_it_starts_and_after_it_drains_it_takes_nothing() -> None:
    async def ask() -> None:
        from heatbath.engine.local import LocalEngine

        engine = LocalEngine(SLOW, config=EngineConfig(warm_up=False))
        with pytest.raises(Unavailable, match="not been started"):
            await asked(engine, Request((0,), "early"))
        await engine.start()
        running = [asyncio.create_task(asked(engine, Request((0,), str(n), max_tokens=n))) for n in (10, 100000)]
        await until(lambda: engine.stats.running == 2)
        draining = asyncio.create_task(engine.drain(0.5))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="shutting down"):
            await asked(engine, Request((0,), "late"))
        await draining
        short, cut = await asyncio.gather(*running)
        assert short.finish() == "length" and cut.finish() == "cancelled"
        assert engine.unavailable_reason is not None and engine.stats.rows == 0
        await engine.start()
        assert engine.unavailable_reason is None
        assert (await asked(engine, Request((0,), "again", max_tokens=2))).finish() == "length"
        await engine.close()

    within(30, ask)


def test_no_tokens_wanted_gives_none() -> None:
    (answered,) = answers(CHAIN, [Request((0, 1), "x", n=2, max_tokens=0)])
    assert [answered.finish(choice) for choice in (0, 1)] == ["length", "length"]
    assert answered.ids() == [] and answered.ended.tokens_spent == 0


def test_requests_whose_samplers_differ_in_an_option_are_not_drawn_together() -> None:
    plain = Request((0,), "plain", sampler="ancestral")
    assert build_batch_key(plain) == build_batch_key(replace(plain, id="other", seed=3))
    assert build_batch_key(plain) != build_batch_key(replace(plain, options={"width": 2}))
    assert build_batch_key(plain) != build_batch_key(replace(plain, windows=(ComponentSpec("top_k", 2),)))
    assert build_batch_key(replace(plain, fields=(ComponentSpec("forbid", "x"),))) is None
