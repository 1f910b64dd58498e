"""A choice whose events are held until they may go, and one that a person is to decide on."""

from __future__ import annotations

import asyncio
import codecs
from dataclasses import dataclass, field
from time import monotonic

from heatbath.engine.base import ModelInfo, TokensGenerated
from heatbath.serve.openai.choice_judge import Judgement
from heatbath.serve.openai.outputs import ChoiceOutput


class DrawnLength:
    """Counts the characters of tokens as they are drawn."""

    def __init__(self, language: ModelInfo) -> None:
        self._language = language
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.characters = 0

    def add(self, event: TokensGenerated) -> int:
        """Count the tokens of an event, and return the characters so far."""
        for token in event.tokens:
            self.characters += len(self._decoder.decode(self._language.token_bytes(token.id)))
        return self.characters


@dataclass(eq=False)
class HeldChoice:
    """A choice whose events are held.

    Attributes:
        whole: all of it so far.
        length: counts its characters, where a part of it may go before the end.
        ends: for each event, how far it reaches in the text, or in the tokens if these go on where text is held back.
        since: the time of its first event, of `time.monotonic`.
        num_released: events that have gone.
        num_judged: characters of the text that have been judged.
        grown: set by every event.
        task: judges it.
    """

    index: int
    length: DrawnLength | None = None
    whole: ChoiceOutput = field(default_factory=ChoiceOutput)
    events: list[TokensGenerated] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    since: float = field(default_factory=monotonic)
    num_released: int = 0
    num_judged: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Judgement] | None = None
    _num_characters: int = 0

    def add(self, event: TokensGenerated) -> None:
        """Hold a further event."""
        whole = self.whole
        whole.tokens += event.tokens
        if event.text:
            whole.pieces.append(event.text)
        if event.finish_reason is not None:
            whole.finish, whole.stopped = event.finish_reason, event.stop_reason
        self.events.append(event)
        if self.length is not None:
            self._num_characters += len(event.text)
            self.ends.append(max(self._num_characters, self.length.add(event)))
        self.grown.set()

    @property
    def num_held_tokens(self) -> int:
        """Tokens that have not gone."""
        return sum(len(event.tokens) for event in self.events[self.num_released :])

    def release(self, end: int) -> list[TokensGenerated]:
        """Return the held events that lie within the first `end` characters."""
        first = self.num_released
        while self.num_released < len(self.events) and self.ends[self.num_released] <= end:
            self.num_released += 1
        return self.events[first : self.num_released]

    def release_rest(self) -> list[TokensGenerated]:
        """Return all events that are still held."""
        first, self.num_released = self.num_released, len(self.events)
        return self.events[first:]


@dataclass(eq=False)
class Escalation:
    """A choice that a person is to decide on.

    Attributes:
        whole: what was generated.
        judgement: with the text to give.
        placeholder: the choice without text that stands in its place until then.
    """

    whole: ChoiceOutput
    judgement: Judgement
    placeholder: ChoiceOutput
