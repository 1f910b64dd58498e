"""Requests whose fields are being built end with their deadline, their caller and the engine, and block nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import asked, idle, running, until, within

from heatbath.energy.grammar_guard import GrammarGuard
from heatbath.energy.grammar_worker import GrammarLimits
from heatbath.engine.base import ComponentSpec, DeadlineExceeded, Request, Unavailable
from heatbath.engine.local import EngineConfig
from heatbath.errors import BadInput
from heatbath.models import MarkovModel

CHAIN = MarkovModel(np.random.default_rng(5).normal(size=(4, 4)))
CONFIG = EngineConfig(warm_up=False)
LIMITS = GrammarLimits(seconds=1.0, patience=60.0, memory=64 << 20, children=4)


def grammar(text: str, **more: Any) -> Request:
    return Request((0,), text, max_tokens=4, fields=(ComponentSpec("lark", text),), **more)


@pytest.fixture
def guard() -> Iterator[GrammarGuard]:
    # Not the library but a stand-in judges: its "grammars" say what happens to the child.
    made = GrammarGuard(CHAIN.token_bytes, CHAIN.vocabulary, limits=LIMITS, factory="grammar_stand_ins:build")
    yield made
    made.close()


def test_stuck_grammars_block_nobody_and_end_at_their_deadline(guard: GrammarGuard) -> None:
    async def ask() -> None:
        async with running(CHAIN, CONFIG, guard=guard) as engine:
            biased = Request((0,), "bias", max_tokens=4, fields=(ComponentSpec("bias", {"1": 2.0}),))
            await asked(engine, biased)
            await asyncio.wait_for(asyncio.wrap_future(guard.check("started")), 20)
            stuck = [asyncio.create_task(asked(engine, grammar(f"sleep {60 + i}", deadline=4.0))) for i in range(3)]
            await until(lambda: len(guard._jobs) == 3)
            begun = time.monotonic()
            with pytest.raises(BadInput, match="because") as raised:
                await asked(engine, grammar("refuse because"))
            assert (raised.value.param, raised.value.component) == ("fields", "lark")
            with pytest.raises(BadInput, match="crashed or took more than 64 MiB"):
                await asked(engine, grammar("abort"))
            assert len((await asked(engine, biased)).ids()) == 4
            assert not any(task.done() for task in stuck)
            ended = await asyncio.gather(*stuck, return_exceptions=True)
            assert [type(error) for error in ended] == [DeadlineExceeded] * 3, ended
            assert time.monotonic() - begun < 12
            await idle(engine)

    within(30, ask)


def test_a_caller_that_leaves_ends_the_child(guard: GrammarGuard, tmp_path: Path) -> None:
    note = tmp_path / "pids"

    async def ask() -> None:
        async with running(CHAIN, CONFIG, guard=guard) as engine:
            stuck = asyncio.create_task(asked(engine, grammar(f"pid {note}")))
            await until(lambda: note.exists() and note.read_text().endswith("\n"), 20)
            stuck.cancel()
            pid = int(note.read_text().split()[0])
            await until(lambda: not Path(f"/proc/{pid}").exists())
            await idle(engine)
            assert engine.stats.waiting == 0

    within(30, ask)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_a_drain_ends_what_is_being_planned_and_all_processes(guard: GrammarGuard, tmp_path: Path) -> None:
    note = tmp_path / "pids"

    async def ask() -> None:
        async with running(CHAIN, CONFIG, guard=guard) as engine:
            stuck = asyncio.create_task(asked(engine, grammar(f"pid {note}")))
            await until(lambda: note.exists() and note.read_text().endswith("\n"), 20)
            begun = time.monotonic()
            await engine.drain(30)
            with pytest.raises(Unavailable, match="shutting down"):
                await stuck
            assert time.monotonic() - begun < 5
            pids = note.read_text().split()
            await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20)

    within(60, ask)


def test_few_tokens_are_no_reason_to_refuse_a_grammar_but_no_match_is() -> None:
    async def ask() -> None:
        async with running(CHAIN, CONFIG) as engine:
            one, two = (CHAIN.token_bytes(token).decode() for token in (1, 2))
            long = Request((0,), "long", max_tokens=2, fields=(ComponentSpec("lark", f'start: "{(one + two) * 9}"'),))
            answered = await asked(engine, long)
            assert answered.ids() == [1, 2] and answered.finish() == "length"
            with pytest.raises(BadInput, match="no completion in this vocabulary"):
                await asked(engine, grammar('start: "\\u2603"'))
            with pytest.raises(BadInput, match="nested more than 256"):
                await asked(engine, grammar("start: " + "(" * 300 + '"a"' + ")" * 300))

    within(30, ask)
