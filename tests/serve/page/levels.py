"""An engine without a model whose steps are real ensembles: energies from a seed, observed like any model's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heatbath.engine.base import Request, Token, TokensGenerated
from heatbath.engine.mock import ByteModelInfo, MockEngine
from heatbath.record import Frame, Observer, observe

STATES = 257
EVIL = "<img src=x onerror=alert(1)>"
WORDS = (
    " the",
    " of",
    " heat",
    EVIL,
    "\n",
    " a",
    "é",
    " \t",
    " bath",
    " energy",
    " temperature",
    "<b>bold</b>",
    "&amp;",
)


class Words(ByteModelInfo):
    """The language of letters with some ids that stand for words, among them some that look like markup."""

    def token_bytes(self, token: int) -> bytes:
        return WORDS[token].encode() if token < len(WORDS) else super().token_bytes(token)


@dataclass
class Levels(MockEngine):
    """Draws from ensembles of 257 states; the same seed draws the same."""

    model_info: Any = field(default_factory=Words)
    observers: Sequence[Observer] = ()

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """A prompt that has the words of the first document makes everything more probable."""
        each = -0.5 if b"A bath of heat" in bytes(prompt) else -1.5
        return [each * len(tokens) for tokens in continuations]

    async def _stream_events(self, request: Request) -> AsyncIterator[TokensGenerated]:
        rng = np.random.default_rng(request.seed or 0)
        for place in range(request.max_tokens):
            for choice in range(request.n):
                token = self._drawn(request, rng, place)
                last = place == request.max_tokens - 1
                text = self.model_info.decode([token.id])
                yield TokensGenerated(choice, [token], text, "length" if last else None)
            await asyncio.sleep(self.pace.each)

    def _drawn(self, request: Request, rng: np.random.Generator, place: int) -> Token:
        energies = rng.gumbel(scale=1.5 + place % 3, size=(1, STATES))
        energies[:, : len(WORDS)] -= 3.0
        energies[:, -1] = np.inf
        beta = 1 / max(request.temperature, 0.05)
        weights = np.exp(-beta * (energies[0] - energies[0].min()))
        id = int(rng.choice(STATES, p=weights / weights.sum()))
        record = observe(energies, [id], beta=beta)
        for observer in self.observers:
            observer.update(Frame(place, np.zeros(1, np.int64), np.array([id]), record))
        logprobs = -energies[0] - np.logaddexp.reduce(-energies[0])
        top = [(int(i), float(logprobs[i])) for i in np.argsort(-logprobs)[: request.top_logprobs]]
        return Token(id, float(logprobs[id]), top, _columns(record, request.record))


def _columns(record: Any, wanted: str | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    names = [name for name in record if wanted != "state" or not name.startswith("nodes/")]
    return {name: record[name][0].tolist() for name in names}
