"""Phrases an answer may not hold, however they are cut into tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.folding import continues, fold, split
from heatbath.energy.memo import Memo
from heatbath.energy.rows import Table, check_size, stops
from heatbath.energy.spelling import Ints, Spelling, phrase_bytes, spelling_of
from heatbath.errors import BadInput

State = tuple[bytes, bytes]
"""The longest beginning of a phrase that the answer ends with, and bytes after it that may begin a character."""

_NONE: Ints = np.zeros(0, np.intp)
_MOST_HELD = 4_000_000


class ForbidPhrases(Field):
    r"""Energy +inf for each token with which the bytes of the answer come to hold a phrase, (B, V).

    $E(v) = \infty$ if a phrase ends within $v$ in the bytes of answer and $v$; 0 otherwise. Every way to cut a phrase
    into tokens is met, also where it begins or ends inside one. What the prompt holds does not matter. A stop token
    adds no text and is never forbidden.

    With `ignore_case`, characters agree when their simple case folding does (`heatbath.energy.folding.fold`), also when
    they are cut between tokens; phrases must then be text or UTF-8.

    Raises `BadInput` for no phrase, an empty one, and a context of another vocabulary.
    Source: Aho and Corasick 1975, doi:10.1145/360825.360855; its states are written out as the strings they stand for.
    """

    name = "forbid_phrases"

    def __init__(
        self,
        phrases: Iterable[str | bytes],
        token_bytes: Callable[[int], bytes],
        vocab_size: int,
        *,
        ignore_case: bool = False,
    ) -> None:
        self.ignore_case, self.vocab_size = ignore_case, vocab_size
        self.phrases = frozenset(_folded(phrases, self.name) if ignore_case else _plain(phrases, self.name))
        if not self.phrases:
            raise BadInput(f"field {self.name!r} forbids no phrase: give at least one.")
        self._raw = [bytes(token_bytes(token)) for token in range(vocab_size)]
        spelled = spelling_of(token_bytes, vocab_size, fold=fold if ignore_case else bytes)
        self._order = spelled.order
        self._spans = _spans(self.phrases, spelled)
        self._alone = _holding(self.phrases, spelled)
        self._cut = np.asarray([t for t, piece in enumerate(self._raw) if continues(piece)], np.intp)
        self._lengths = sorted(set(map(len, self.phrases)))
        self._states: Memo[State] = Memo((b"", b""), self._extend, size=4096)
        self._changes: dict[State, tuple[Ints, Ints]] = {}
        self._held = 0

    def __call__(self, context: Context) -> Table:
        check_size(context, self.vocab_size, self.name)
        ending = stops(context, self.name)
        energies = np.empty((len(context), self.vocab_size), np.float32)
        energies[:] = self._alone
        for row in range(len(context)):
            if context.whole(row):
                energies[row] = 0
                continue
            state = self._states(context.answer(row))
            if state != (b"", b""):
                self._mark(energies[row], state)
        energies[:, ending] = 0
        return energies

    def _mark(self, energies: npt.NDArray[np.float32], state: State) -> None:
        """What a state changes in what a token forbids by itself."""
        known = self._changes.get(state)
        if known is None:
            known = self._joined(*state) if state[1] else (self._forbidden(state[0]), _NONE)
            self._held += sum(map(len, known))
            if self._held > _MOST_HELD:
                self._changes, self._held = {}, 0
            self._changes[state] = known
        forbidden, allowed = known
        energies[allowed] = 0
        energies[forbidden] = np.inf

    def _forbidden(self, matched: bytes) -> Ints:
        """Tokens that complete a phrase begun at any place of `matched`."""
        spans = [span for i in range(len(matched)) for span in self._spans.get(matched[i:], ())]
        if not spans:
            return _NONE
        low, high = np.asarray(spans, np.intp).T
        lengths = high - low
        # The runs low[i] … high[i] - 1 one after another.
        places: Ints = np.arange(lengths.sum()) + np.repeat(high - np.cumsum(lengths), lengths)
        return np.asarray(self._order[places])

    def _joined(self, matched: bytes, pending: bytes) -> tuple[Ints, Ints]:
        """Tokens forbidden and allowed where a character is cut: put together it may fold otherwise than in pieces."""
        apart = np.setdiff1d(self._forbidden(self._after(matched, pending)), self._cut)
        wholes = (fold(split(pending + self._raw[token])[0]) for token in self._cut)
        complete = np.asarray([self._completes(matched, whole) for whole in wholes], bool)
        return np.concatenate([apart, self._cut[complete]]), self._cut[~complete]

    def _completes(self, matched: bytes, piece: bytes) -> bool:
        text = matched + piece
        ends = range(len(matched) + 1, len(text) + 1)
        return any(text[end - n : end] in self.phrases for end in ends for n in self._lengths if n <= end)

    def _extend(self, state: State, tokens: Sequence[int]) -> State:
        matched, pending = state
        for token in tokens:
            piece = self._raw[token]
            if self.ignore_case:
                whole, pending = split(pending + piece)
                piece = fold(whole)
            matched = self._after(matched, piece)
        return matched, pending

    def _after(self, matched: bytes, piece: bytes) -> bytes:
        """The longest end of `matched + piece` that begins a phrase and is none yet."""
        for i in range(len(piece)):
            matched += piece[i : i + 1]
            while matched and matched not in self._spans:
                matched = matched[1:]
        return matched


def _plain(phrases: Iterable[str | bytes], name: str) -> Iterable[bytes]:
    if isinstance(phrases, str | bytes):
        raise BadInput(f"field {name!r} takes a list of phrases, not one: write [{phrases!r:.40}].")
    return (phrase_bytes(phrase, name) for phrase in phrases)


def _folded(phrases: Iterable[str | bytes], name: str) -> Iterable[bytes]:
    for phrase in _plain(phrases, name):
        try:
            phrase.decode()
        except UnicodeDecodeError:
            raise BadInput(f"field {name!r} cannot ignore the case of {phrase!r}, which is no UTF-8.") from None
        yield fold(phrase)


def _spans(phrases: frozenset[bytes], spelling: Spelling) -> dict[bytes, list[tuple[int, int]]]:
    """For each beginning of a phrase, where the tokens lie that go on to complete one."""
    spans: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    known: dict[bytes, tuple[int, int]] = {}
    for phrase in phrases:
        for cut in range(1, len(phrase)):
            rest, found = phrase[cut:], spans[phrase[:cut]]
            if len(rest) > spelling.longest:
                continue
            if rest not in known:
                known[rest] = spelling.span(rest)
            if known[rest][0] < known[rest][1]:
                found.append(known[rest])
    return dict(spans)


def _holding(phrases: frozenset[bytes], spelling: Spelling) -> npt.NDArray[np.float32]:
    """Energies (V,) of the tokens that hold a phrase by themselves."""
    lengths = sorted({len(phrase) for phrase in phrases if len(phrase) <= spelling.longest})
    return np.asarray([np.inf if _holds(piece, phrases, lengths) else 0 for piece in spelling.pieces], np.float32)


def _holds(piece: bytes, phrases: frozenset[bytes], lengths: list[int]) -> bool:
    return any(piece[i : i + n] in phrases for n in lengths for i in range(len(piece) - n + 1))
