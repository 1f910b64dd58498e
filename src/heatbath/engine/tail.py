"""The text of an answer while it grows: what may be shown now, and where a stop ends it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from heatbath.errors import BadInput
from heatbath.record import Speller

MOST_STOPS, LONGEST_STOP = 256, 2048


@dataclass(frozen=True)
class Stops:
    """Texts that end an answer, made ready to be looked for letter by letter; shared by the answers of a request.

    Of several the one that is complete first ends the text, of those the longest: so it does not matter how the text
    was cut into pieces. Raises `BadInput` for an empty one, or for more or longer ones than can be followed.
    """

    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) > MOST_STOPS:
            raise BadInput(f"{len(self.texts)} stops are more than can be looked for: give at most {MOST_STOPS}.")
        for text in self.texts:
            if not 0 < len(text) <= LONGEST_STOP:
                raise BadInput(f"a stop has {len(text)} characters: give from 1 to {LONGEST_STOP}.")

    @cached_property
    def borders(self) -> tuple[tuple[int, ...], ...]:
        """For each stop and each of its beginnings, the longest shorter beginning that it also ends with."""
        return tuple(map(_borders, self.texts))


class Tail:
    """The text of one answer, token by token: incomplete characters and the beginnings of stops are held back."""

    def __init__(self, stops: Stops, *, keep_stop: bool = False) -> None:
        self.stopped: str | None = None
        self._stops, self._keep = stops, keep_stop
        self._speller = Speller()
        self._found = [0] * len(stops.texts)
        self._held = ""

    def push(self, piece: bytes) -> str:
        """The text that may be shown after one more token; once `stopped` is set, all of it has been shown."""
        return self._shown(self._speller.push(piece))

    def end(self) -> str:
        """What is left when no more tokens come."""
        if self.stopped is not None:
            return ""
        text = self._shown(self._speller.end())
        held, self._held = self._held, ""
        return text + held

    def _shown(self, letters: str) -> str:
        if not self._found or not letters:
            return letters
        text = self._held + letters
        for place in range(len(self._held), len(text)):
            self.stopped = self._step(text[place])
            if self.stopped is not None:
                self._held = ""
                return text[: place + 1 if self._keep else place + 1 - len(self.stopped)]
        safe = len(text) - max(self._found)
        self._held = text[safe:]
        return text[:safe]

    def _step(self, letter: str) -> str | None:
        """Take in one letter; the longest stop that it completes."""
        whole: str | None = None
        for number, (stop, borders) in enumerate(zip(self._stops.texts, self._stops.borders, strict=True)):
            found = self._found[number]
            while found and stop[found] != letter:
                found = borders[found - 1]
            found += stop[found] == letter
            self._found[number] = found
            if found == len(stop):
                whole = stop if whole is None or len(stop) > len(whole) else whole
                self._found[number] = borders[-1]
        return whole


def _borders(text: str) -> tuple[int, ...]:
    """The failure function of Knuth, Morris and Pratt 1977, doi:10.1137/0206024."""
    borders = [0]
    for letter in text[1:]:
        found = borders[-1]
        while found and text[found] != letter:
            found = borders[found - 1]
        borders.append(found + (text[found] == letter))
    return tuple(borders)
