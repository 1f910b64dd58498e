"""What the tests of the local engine share: requests asked at once, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from heatbath.engine.base import Event, Finished, Request, Started, Token, TokensGenerated
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.models import Model

T = TypeVar("T")


@dataclass
class Answered:
    """The steps of a request, sorted."""

    steps: list[Event] = field(default_factory=list)

    @property
    def began(self) -> Started:
        (began,) = [step for step in self.steps if isinstance(step, Started)]
        assert self.steps[0] is began
        return began

    @property
    def ended(self) -> Finished:
        assert isinstance(self.steps[-1], Finished)
        return self.steps[-1]

    @property
    def grown(self) -> list[TokensGenerated]:
        return [step for step in self.steps if isinstance(step, TokensGenerated)]

    def tokens(self, choice: int = 0) -> list[Token]:
        return [token for step in self.grown if step.choice == choice for token in step.tokens]

    def ids(self, choice: int = 0) -> list[int]:
        return [token.id for token in self.tokens(choice)]

    def text(self, choice: int = 0) -> str:
        return "".join(step.text for step in self.grown if step.choice == choice)

    def finish(self, choice: int = 0) -> str | None:
        finishes = [step.finish_reason for step in self.grown if step.choice == choice and step.finish_reason]
        assert len(finishes) == 1
        return finishes[0]

    @property
    def choices(self) -> int:
        return 1 + max(step.choice for step in self.grown)

    @property
    def sequences(self) -> list[list[int]]:
        return [self.ids(choice) for choice in range(self.choices)]


@asynccontextmanager
async def running(model: Model, options: EngineConfig | None = None, **more: Any) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(model, config=options or EngineConfig(warm_up=False), **more)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def asked(engine: LocalEngine, request: Request) -> Answered:
    answered = Answered()
    async for step in engine.submit(request):
        answered.steps.append(step)
    return answered


def answers(
    model: Model, requests: Sequence[Request], options: EngineConfig | None = None, **more: Any
) -> list[Answered]:
    """All at once, through an engine of their own."""

    async def ask() -> list[Answered]:
        async with running(model, options, **more) as engine:
            found = await asyncio.gather(*(asked(engine, request) for request in requests))
            await idle(engine)
            return found

    return asyncio.run(ask())


async def idle(engine: LocalEngine) -> None:
    """Wait until the engine holds nothing; fails after fifteen seconds."""
    await until(lambda: (engine.stats.running, engine.stats.waiting, engine.stats.rows) == (0, 0, 0))


async def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not true():
        assert loop.time() < end, "it did not come to pass"
        await asyncio.sleep(0.002)


def within(seconds: float, work: Callable[[], Awaitable[T]]) -> T:
    async def timed() -> T:
        return await asyncio.wait_for(work(), seconds)

    return asyncio.run(timed())
