"""The text of an answer while it grows: what may be shown now, and where a stop ends it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.record import Utf8Decoder

MAX_STOPS, MAX_STOP_CHARACTERS = 256, 2048


@dataclass(frozen=True)
class StopMatch:
    """The text before a stop, and how many tokens it took to complete the stop."""

    text: str
    num_tokens: int


@dataclass(frozen=True)
class StopStrings:
    """Texts that end an answer, made ready to be looked for letter by letter; shared by the answers of a request.

    Of several the one that is complete first ends the text, of those the longest: so it does not matter how the text
    was cut into pieces. Raises `BadInput` for an empty one, or for more or longer ones than can be followed.
    """

    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) > MAX_STOPS:
            raise BadInput(
                f"{len(self.texts)} stops are more than can be looked for: give at most {MAX_STOPS}.", param="stop"
            )
        for text in self.texts:
            if not 0 < len(text) <= MAX_STOP_CHARACTERS:
                raise BadInput(
                    f"a stop has {len(text)} characters: give from 1 to {MAX_STOP_CHARACTERS}.", param="stop"
                )

    @classmethod
    def from_texts(cls, texts: str | Sequence[str] | None) -> StopStrings:
        """One text, several or none. Raises `BadInput` for anything else."""
        given = (texts,) if isinstance(texts, str) else () if texts is None else texts
        if isinstance(given, bytes) or not isinstance(given, Sequence) or not all(isinstance(x, str) for x in given):
            raise BadInput(
                f"stop is {texts!r:.60}: give a text or a list of texts; token ids go into stop_token_ids.",
                param="stop",
            )
        return cls(tuple(given))

    def find_first(self, pieces: Iterable[bytes]) -> StopMatch | None:
        """Return where the first of the stops is complete in a text, given as the bytes of its tokens, if any is."""
        detokenizer, text, count = IncrementalDetokenizer(self), "", 0
        for count, piece in enumerate(pieces, start=1):
            text += detokenizer.push(piece)
            if detokenizer.matched_stop is not None:
                return StopMatch(text, count)
        text += detokenizer.flush()
        return None if detokenizer.matched_stop is None else StopMatch(text, count)

    @cached_property
    def failure_tables(self) -> tuple[tuple[int, ...], ...]:
        """For each stop and each of its beginnings, the longest shorter beginning that it also ends with."""
        return tuple(map(_build_failure_table, self.texts))


class IncrementalDetokenizer:
    """The text of one answer, token by token: incomplete characters and the beginnings of stops are held back."""

    def __init__(self, stop_strings: StopStrings, *, keep_stop: bool = False) -> None:
        self.matched_stop: str | None = None
        self._stop_strings, self._keep_stop = stop_strings, keep_stop
        self._byte_decoder = Utf8Decoder()
        self._match_lengths = [0] * len(stop_strings.texts)
        self._held_text = ""
        self.rest = ""

    def push(self, piece: bytes) -> str:
        """The text that may be shown after one more token; once `stopped` is set, all of it has been shown."""
        return self._release_text(self._byte_decoder.decode_bytes(piece))

    def push_text(self, text: str) -> str:
        """As `push`, of text; once `stopped` is set, `rest` is what follows the stop."""
        return self._release_text(text)

    def flush(self) -> str:
        """What is left when no more tokens come."""
        if self.matched_stop is not None:
            return ""
        text = self._release_text(self._byte_decoder.flush())
        held, self._held_text = self._held_text, ""
        return text + held

    def _release_text(self, text_piece: str) -> str:
        if not self._match_lengths or not text_piece:
            return text_piece
        text = self._held_text + text_piece
        for place in range(len(self._held_text), len(text)):
            self.matched_stop = self._match_character(text[place])
            if self.matched_stop is not None:
                self._held_text, self.rest = "", text[place + 1 :]
                return text[: place + 1 if self._keep_stop else place + 1 - len(self.matched_stop)]
        safe = len(text) - max(self._match_lengths)
        self._held_text = text[safe:]
        return text[:safe]

    def _match_character(self, character: str) -> str | None:
        """Take in one letter; the longest stop that it completes."""
        whole: str | None = None
        for number, (stop, borders) in enumerate(
            zip(self._stop_strings.texts, self._stop_strings.failure_tables, strict=True)
        ):
            found = self._match_lengths[number]
            while found and stop[found] != character:
                found = borders[found - 1]
            found += stop[found] == character
            self._match_lengths[number] = found
            if found == len(stop):
                whole = stop if whole is None or len(stop) > len(whole) else whole
                self._match_lengths[number] = borders[-1]
        return whole


class StopTracker:
    """Follows the text of the rows of a run, and says which of them a stop ends."""

    def __init__(
        self, stop_strings: StopStrings, token_bytes: Callable[[int], bytes], stop_token_ids: Collection[int]
    ) -> None:
        self._stop_strings, self._token_bytes, self._stop_token_ids = stop_strings, token_bytes, stop_token_ids
        self._rows: dict[int, IncrementalDetokenizer] = {}

    def __call__(self, rows: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Append one of `tokens` (A,) to each of `rows` (A,) and return which of them end with it, (A,)."""
        return np.asarray([self._append(*each) for each in zip(rows.tolist(), tokens.tolist(), strict=True)], bool)

    def _append(self, row: int, token: int) -> bool:
        if token in self._stop_token_ids:
            return False
        detokenizer = self._rows.setdefault(row, IncrementalDetokenizer(self._stop_strings))
        detokenizer.push(self._token_bytes(token))
        return detokenizer.matched_stop is not None


def _build_failure_table(text: str) -> tuple[int, ...]:
    """The failure function of Knuth, Morris and Pratt 1977, doi:10.1137/0206024."""
    borders = [0]
    for letter in text[1:]:
        found = borders[-1]
        while found and text[found] != letter:
            found = borders[found - 1]
        borders.append(found + (text[found] == letter))
    return tuple(borders)
