"""Incremental detokenization with stop strings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput, format_value
from heatbath.record import Utf8Decoder

MAX_STOPS, MAX_STOP_CHARACTERS = 256, 2048


@dataclass(frozen=True)
class StopMatch:
    """The text before a stop, and how many tokens it took to complete the stop."""

    text: str
    num_tokens: int


@dataclass(frozen=True)
class StopStrings:
    """Texts that end a sequence, with the tables to search for them; shared by the sequences of a request.

    The text that is complete first ends the sequence, the longest if several are; so the result does not depend on how
    the sequence is split into pieces. Raises `BadInput` for an empty text, or for too many or too long ones.
    """

    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) > MAX_STOPS:
            raise BadInput(f"`stop` takes at most {MAX_STOPS} texts, got {len(self.texts)}.", param="stop")
        for text in self.texts:
            if not 0 < len(text) <= MAX_STOP_CHARACTERS:
                raise BadInput(
                    f"a text of `stop` must have from 1 to {MAX_STOP_CHARACTERS} characters, got {len(text)}.",
                    param="stop",
                )

    @classmethod
    def from_texts(cls, texts: str | Sequence[str] | None) -> StopStrings:
        """One text, several or none. Raises `BadInput` for anything else."""
        given = (texts,) if isinstance(texts, str) else () if texts is None else texts
        if isinstance(given, bytes) or not isinstance(given, Sequence) or not all(isinstance(x, str) for x in given):
            raise BadInput(
                f"stop is {format_value(texts)}: give a text or a list of texts; token ids go into stop_token_ids.",
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
        """For each prefix of each stop text, the length of the longest shorter prefix that is also its suffix."""
        return tuple(map(_build_failure_table, self.texts))


class IncrementalDetokenizer:
    """The text of one sequence, token by token. Holds back incomplete characters and possible stop texts.

    A stop that is complete before the `min_tokens`-th token ends nothing: it is text like any other.
    """

    def __init__(self, stop_strings: StopStrings, *, keep_stop: bool = False, min_tokens: int = 0) -> None:
        self.matched_stop: str | None = None
        self._stop_strings, self._keep_stop, self._min_tokens = stop_strings, keep_stop, min_tokens
        self._num_tokens = 0
        self._byte_decoder = Utf8Decoder()
        self._match_lengths = [0] * len(stop_strings.texts)
        self._held_text = ""
        self.rest = ""

    def push(self, piece: bytes) -> str:
        """Add the bytes of a token; return the text that may be shown, the last of it once `matched_stop` is set."""
        self._num_tokens += 1
        return self._release_text(self._byte_decoder.decode_bytes(piece))

    def push_text(self, text: str) -> str:
        """Add text, as `push` does. Once `matched_stop` is set, `rest` is the text after the stop."""
        return self._release_text(text)

    def flush(self) -> str:
        """Return the text still held back, after the last token."""
        if self.matched_stop is not None:
            return ""
        text = self._release_text(self._byte_decoder.flush())
        rest, self._held_text = self._held_text, ""
        return text + rest

    def _release_text(self, text_piece: str) -> str:
        if not self._match_lengths or not text_piece:
            return text_piece
        text = self._held_text + text_piece
        for place in range(len(self._held_text), len(text)):
            matched = self._match_character(text[place])
            if matched is not None and self._num_tokens >= self._min_tokens:
                self.matched_stop = matched
                self._held_text, self.rest = "", text[place + 1 :]
                return text[: place + 1 if self._keep_stop else place + 1 - len(matched)]
        safe = len(text) - max(self._match_lengths)
        self._held_text = text[safe:]
        return text[:safe]

    def _match_character(self, character: str) -> str | None:
        """Add one character; return the longest stop text that it completes."""
        matched: str | None = None
        for number, (stop, borders) in enumerate(
            zip(self._stop_strings.texts, self._stop_strings.failure_tables, strict=True)
        ):
            length = self._match_lengths[number]
            while length and stop[length] != character:
                length = borders[length - 1]
            length += stop[length] == character
            self._match_lengths[number] = length
            if length == len(stop):
                matched = stop if matched is None or len(stop) > len(matched) else matched
                self._match_lengths[number] = borders[-1]
        return matched


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
    """Return the failure function of Knuth, Morris and Pratt 1977, doi:10.1137/0206024."""
    borders = [0]
    for character in text[1:]:
        length = borders[-1]
        while length and text[length] != character:
            length = borders[length - 1]
        borders.append(length + (text[length] == character))
    return tuple(borders)
