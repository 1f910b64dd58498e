"""An engine that says what it is told to: for answers that a mock of set words cannot give."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from heatbath.engine.base import EngineStats, Event, Finished, ModelInfo, Request, Started, Token, TokensGenerated
from heatbath.engine.mock import ByteModelInfo

END = 256


@dataclass
class Scripted:
    """Answer i to any request is `texts[i]`, byte by byte, then the end token; scores of prompts are `scores`.

    What was asked for is in `requests`; `open` counts requests not closed yet.
    """

    texts: Sequence[str] = ("Hello.",)
    model_info: ModelInfo = field(default_factory=ByteModelInfo)
    unavailable_reason: str | None = None
    each: float = 0.0
    requests: list[Request] = field(default_factory=list)
    open: int = 0
    value: int = 0

    @property
    def stats(self) -> EngineStats:
        return EngineStats(running=self.open)

    async def start(self) -> None:
        pass

    async def drain(self, seconds: float) -> None:
        pass

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self.requests.append(request)
        self.open += 1
        try:
            scored = [self.token(token, i) for i, token in enumerate(request.prompt)] if request.score_prompt else []
            yield Started(
                seed=7 if request.seed is None else request.seed,
                queue_seconds=0.25,
                cached_tokens=2,
                scored_prompt=scored,
                continuation_logprobs=self.score(request.prompt, request.continuations),
                further_logprobs=[self.score(each, request.continuations) for each in request.further_prompts],
            )
            for choice in range(max(request.n, len(self.texts)) if request.max_tokens else 0):
                async for step in self.answer(choice, request):
                    yield step
            yield Finished(
                best_index=self.value,
                tokens_spent=40,
                log_weights=[0.0, -1.0],
                log_z=-3.5,
                log_z_stderr=0.1,
                ess=1.7,
            )
        finally:
            self.open -= 1

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Log p of continuations after a prompt: a coin for each token."""
        return [-math.log(2) * len(each) for each in continuations]

    async def answer(self, choice: int, request: Request) -> AsyncIterator[Event]:
        letters = self.texts[choice % len(self.texts)].encode()
        for place, letter in enumerate(letters[: request.max_tokens]):
            last = place == request.max_tokens - 1
            yield TokensGenerated(choice, [self.token(letter, 1)], _shown(letters, place), "length" if last else None)
            await asyncio.sleep(self.each)
        if len(letters) < request.max_tokens:
            yield TokensGenerated(choice, [self.token(END, 1)], "", "stop", END)

    def token(self, token: int, place: int) -> Token:
        """A token of probability exp(-id / 100), the first of a text without any."""
        record = {"logprob": -0.5, "entropy": 1.0, "heat_capacity": 0.25, "temperature": 0.8, "p_max": 0.5}
        record |= {"work/bias": 0.1, "kept_mass/top_p=0.9": 0.95}
        top = [(65, -0.1), (token, -token / 100), (END, -math.inf)]
        return Token(token, None if place == 0 else -token / 100, top, record)


def _shown(letters: bytes, place: int) -> str:
    """What becomes readable with the byte at `place`."""
    now, before = (letters[:end].decode(errors="ignore") for end in (place + 1, place))
    return now[len(before) :]
