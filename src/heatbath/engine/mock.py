"""An engine without a model: fixed text at fixed latencies, for tests and for measuring the overhead of a server."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heatbath.engine.base import (
    EngineStats,
    Event,
    Finished,
    ModelInfo,
    Overloaded,
    Request,
    Started,
    Token,
    TokensGenerated,
    Unavailable,
)
from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import Tokens, Vocabulary

_END = 256


class ByteModelInfo:
    """A model of 256 bytes and an end token: every text can be encoded, one token for each byte."""

    name = "mock"
    vocabulary = Vocabulary(257, start_token_ids=(_END,), stop_token_ids=(_END,), special_token_ids=frozenset({_END}))
    context_length: int | None = 4096
    fingerprint = "sha256:" + hashlib.sha256(b"heatbath mock").hexdigest()

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Tokens) -> str:
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < _END else b"<end>"

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        text = ""
        for message in messages:
            text += f"{message['role']}: {message['content']}\n"
        return self.encode(text)


@dataclass(frozen=True)
class MockLatency:
    """Seconds until the first token and between tokens, and the most requests that run at once."""

    first: float = 0.0
    each: float = 0.0
    most: int = 1024


@dataclass
class MockEngine:
    """Generates `text`, repeated up to `max_tokens`, one byte a token.

    `fault` is raised after `fault_after` tokens of each sequence, to test how a server reports it.
    """

    pace: MockLatency = field(default_factory=MockLatency)
    text: str = "The quick brown fox jumps over the lazy dog. "
    fault: HeatbathError | None = None
    fault_after: int = 0
    model_info: ModelInfo = field(default_factory=ByteModelInfo)
    unavailable_reason: str | None = None
    running: int = 0

    @property
    def stats(self) -> EngineStats:
        return EngineStats(running=self.running, rows=self.running)

    async def start(self) -> None:
        self.unavailable_reason = None

    async def drain(self, seconds: float) -> None:
        self.unavailable_reason = "the engine is shutting down"
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.running and loop.time() < end:
            await asyncio.sleep(0.01)

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        if self.unavailable_reason is not None:
            raise Unavailable(f"{self.unavailable_reason}: try again later.")
        if self.running >= self.pace.most:
            raise Overloaded(f"{self.running} requests are in work: try again later.", 1.0)
        if not request.temperature >= 0:
            raise BadInput(f"temperature is {request.temperature}: give a number from 0 up.", param="temperature")
        self.running += 1
        try:
            await asyncio.sleep(self.pace.first)
            prompt = [_build_token(token, request) for token in request.prompt] if request.score_prompt else []
            started = Started(request.seed or 0, 0.0, scored_prompt=prompt)
            if request.continuations:
                first, *others = [
                    self.score(each, request.continuations) for each in (request.prompt, *request.further_prompts)
                ]
                started = replace(started, continuation_logprobs=first, further_logprobs=others)
            yield started
            async for step in self._stream_events(request):
                yield step
            yield Finished(tokens_spent=request.n * request.max_tokens, log_weights=[0.0] * request.n)
        finally:
            self.running -= 1

    def score(self, prompt: Tokens, continuations: Sequence[Tokens]) -> list[float]:
        """Return log p of continuations after a prompt: that of a fair coin for each token."""
        return [-math.log(2) * len(each) for each in continuations]

    async def _stream_events(self, request: Request) -> AsyncIterator[Event]:
        events = _generate_text(self.text, request)
        for step in range(request.max_tokens):
            if self.fault is not None and step == self.fault_after:
                raise self.fault
            batch = next(events, ())
            for event in batch:
                yield event
            if not batch:
                return
            await asyncio.sleep(self.pace.each)


def _generate_text(text: str, request: Request) -> Iterator[list[TokensGenerated]]:
    """Yield the events of each step: the same token for all sequences.

    Stop strings are looked for in the text so far, without holding anything back.
    """
    generated = ""
    for step in range(request.max_tokens):
        character = text[step % len(text)]
        generated += character
        stop = None
        for each in request.stop:
            if stop is None and step + 1 >= request.min_tokens and generated.endswith(each):
                stop = each
        reason = "stop" if stop else "length" if step == request.max_tokens - 1 else None
        events = []
        for choice in range(request.n):
            events.append(TokensGenerated(choice, [_build_token(ord(character), request)], character, reason, stop))
        yield events
        if stop:
            return


def _build_token(token: int, request: Request) -> Token:
    """Return a token with the record of a fair coin: two states of probability one half."""
    half = -math.log(2)
    record = {"logprob": half, "energy": 0.0, "log_z": -half, "entropy": -half, "heat_capacity": 0.0, "rank": 1.0}
    record |= {"temperature": request.temperature, "mean_energy": 0.0, "variance": 0.0, "ground": 0.0, "p_max": 0.5}
    top = [(token, half), (_END, half)][: request.top_logprobs]
    return Token(token, half, top, record if request.record else None)
