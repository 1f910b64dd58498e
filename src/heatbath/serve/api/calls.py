"""Tool calls in an answer's text, read as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from heatbath.serve.api.toolbox import CLOSE, GIVEN, NAMED, OPEN


@dataclass(frozen=True)
class Said:
    """More of the answer's own text."""

    text: str


@dataclass(frozen=True)
class Called:
    """Call `index` begins: the tool's name is known."""

    index: int
    name: str


@dataclass(frozen=True)
class Given:
    """More of the arguments of call `index`."""

    index: int
    text: str


Part = Said | Called | Given


@dataclass
class Calls:
    """A reader of one answer, whose calls have the form that the toolbox's grammar gives them.

    What could be the beginning of a call or of its end is held back until it is clear; `rest` gives it at the end.
    """

    count: int = 0
    inside: str = "text"
    held: str = ""

    def read(self, text: str) -> list[Part]:
        """What `text` adds."""
        self.held += text
        found: list[Part] = []
        while True:
            before = (self.inside, len(self.held))
            found += self._step()
            if (self.inside, len(self.held)) == before:
                return found

    def rest(self) -> list[Part]:
        """What was held back, now that the answer has ended."""
        held, self.held = self.held, ""
        if not held or self.inside == "name":
            return []
        if self.inside == "arguments":
            return [Given(self.count - 1, held)]
        return [Said(held)] if held.strip() or not self.count else []

    def _step(self) -> Iterator[Part]:
        if self.inside == "text":
            yield from self._text()
        elif self.inside == "name":
            yield from self._name()
        else:
            yield from self._arguments()

    def _text(self) -> Iterator[Part]:
        before, mark, after = self.held.partition(OPEN)
        if mark:
            self.inside, self.held = "name", after
        else:
            before = self._sure(OPEN)
        # Between two calls there is nothing but a line break.
        if before and (before.strip() or not self.count):
            yield Said(before)

    def _name(self) -> Iterator[Part]:
        before, mark, after = self.held.partition(GIVEN)
        if mark:
            self.inside, self.held, self.count = "arguments", after, self.count + 1
            yield Called(self.count - 1, before.removeprefix(NAMED))

    def _arguments(self) -> Iterator[Part]:
        before, mark, after = self.held.partition(CLOSE)
        if mark:
            self.inside, self.held = "text", after
        else:
            before = self._sure(CLOSE)
        if before:
            yield Given(self.count - 1, before)

    def _sure(self, mark: str) -> str:
        """Takes off what is held all that cannot be the beginning of `mark`."""
        most = min(len(self.held), len(mark) - 1)
        keep = next((n for n in range(most, 0, -1) if self.held.endswith(mark[:n])), 0)
        sure = self.held[: len(self.held) - keep]
        self.held = self.held[len(sure) :]
        return sure
