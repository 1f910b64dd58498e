"""What an answer must hold before it may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.memo import Memo
from heatbath.energy.rows import Table, check_size, checked_count, growing, stops, zeros
from heatbath.energy.spelling import Spelling, phrase_bytes, spelling_of
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]


class Require(Field):
    r"""Energy +inf for stop tokens until the answer holds every one of `wanted`, (B, V).

    `wanted` are phrases (text or bytes, held in the bytes of the answer however they are cut) and token ids. With
    `max_tokens`, the most tokens an answer may have, $E(v) = \infty$ also for each token after which what is missing
    would no longer fit: with one phrase exactly those; with several the room kept is that of writing them one after
    another, so that phrases which overlap may be steered to a little early. Then no answer of that length lacks any.

    Raises `BadInput` for nothing wanted, a phrase that no tokens spell, what does not fit into `max_tokens`, and a
    context of another vocabulary.
    """

    name = "require"

    def __init__(
        self,
        wanted: Iterable[str | bytes | int],
        token_bytes: Callable[[int], bytes],
        vocab_size: int,
        *,
        max_tokens: int | None = None,
    ) -> None:
        if isinstance(wanted, str | bytes):
            raise BadInput(f"field {self.name!r} takes a list of what is wanted, not one: write [{wanted!r:.40}].")
        self.vocab_size = vocab_size
        self.max_tokens = checked_count(max_tokens, "the max_tokens of field 'require'")
        self._spelling = spelling_of(token_bytes, vocab_size)
        self._goals = [self._goal(item) for item in wanted]
        if not self._goals:
            raise BadInput(f"field {self.name!r} wants nothing: give a phrase or a token.")
        start: tuple[int | None, ...] = (0,) * len(self._goals)
        self._states: Memo[tuple[int | None, ...]] = Memo(start, self._extend)
        least = 1 + float(self._missing(start).min())
        if self.max_tokens is not None and least > self.max_tokens:
            raise BadInput(f"field {self.name!r} needs {least:.0f} tokens or more, max_tokens is {self.max_tokens}.")

    def __call__(self, context: Context) -> Table:
        check_size(context, self.vocab_size, self.name)
        ending, energies = stops(context, self.name), zeros(context)
        for row in growing(context):
            answer = context.answer(row)
            state = self._states(answer)
            if all(progress is None for progress in state):
                continue
            self._hurry(energies[row], state, len(answer))
            energies[row, ending] = np.inf
        return energies

    def _hurry(self, energies: npt.NDArray[np.float32], state: tuple[int | None, ...], length: int) -> None:
        """Forbid tokens after which what is missing takes more tokens than are left."""
        if self.max_tokens is None:
            return
        left = self.max_tokens - length - 1
        if sum(goal.afresh for goal, progress in self._open(state)) > left:
            energies[self._missing(state) > left] = np.inf

    def _open(self, state: tuple[int | None, ...]) -> list[tuple[_Phrase | _Token, int]]:
        pairs = zip(self._goals, state, strict=True)
        return [(goal, progress) for goal, progress in pairs if progress is not None]

    def _missing(self, state: tuple[int | None, ...]) -> Floats:
        """Tokens still to come after each token that go with certainty: finish one that is begun, then the others."""
        total, gain = np.zeros(self.vocab_size), np.zeros(self.vocab_size)
        for goal, progress in self._open(state):
            after = goal.after(progress)
            total += np.where(after > 0, goal.afresh, 0.0)
            gain = np.minimum(gain, np.where(after > 0, after - goal.afresh, 0.0))
        return total + gain

    def _goal(self, item: str | bytes | int) -> _Phrase | _Token:
        if isinstance(item, str | bytes):
            return _Phrase(phrase_bytes(item, self.name), self._spelling)
        if not 0 <= item < self.vocab_size:
            raise BadInput(f"field {self.name!r} wants token {item}, outside the vocabulary of {self.vocab_size}.")
        return _Token(int(item), self.vocab_size)

    def _extend(self, state: tuple[int | None, ...], tokens: Sequence[int]) -> tuple[int | None, ...]:
        for token in tokens:
            piece = self._spelling.pieces[token]
            pairs = zip(self._goals, state, strict=True)
            state = tuple(None if at is None else goal.step(at, token, piece) for goal, at in pairs)
        return state


class _Token:
    """A wanted token: `afresh` tokens bring it from nothing."""

    afresh = 1.0

    def __init__(self, token: int, size: int) -> None:
        self.token, self.size = token, size

    def step(self, at: int, token: int, piece: bytes) -> int | None:
        return None if token == self.token else 0

    def after(self, at: int) -> Floats:
        return np.where(np.arange(self.size) == self.token, 0.0, 1.0)


class _Phrase:
    """A wanted phrase. Progress is how much of its beginning the answer ends with, None once it was held.

    `rest[k]` is the fewest tokens that spell on from its first k bytes, the last of them perhaps going beyond its end;
    `alone` (V,) what is missing after each token that begins from nothing, `afresh` before it.
    """

    def __init__(self, text: bytes, spelling: Spelling) -> None:
        self.text, self.spelling = text, spelling
        self.rest = _rest(text, spelling)
        begun = np.asarray([self._begun(piece) for piece in spelling.pieces])
        self.afresh = 1.0 + float(begun.min())
        if self.afresh == np.inf:
            raise BadInput(f"field 'require': no tokens of this vocabulary spell {text!r}.")
        self.alone: Floats = np.minimum(begun, self.afresh)

    def step(self, at: int, token: int, piece: bytes) -> int | None:
        held = self.text[:at] + piece
        if self.text in held:
            return None
        return next((k for k in range(min(len(held), len(self.text) - 1), 0, -1) if held.endswith(self.text[:k])), 0)

    def after(self, at: int) -> Floats:
        """Tokens still missing after each token, 0 where it completes the phrase, (V,)."""
        missing = self.alone.copy()
        for k in range(1, at + 1):
            if self.text[:at].endswith(self.text[:k]):
                for end in range(k, len(self.text)):
                    tokens = self.spelling.exactly(self.text[k:end])
                    missing[tokens] = np.minimum(missing[tokens], self.rest[end])
                missing[self.spelling.beginning(self.text[k:])] = 0
        return missing

    def _begun(self, piece: bytes) -> float:
        if self.text in piece:
            return 0.0
        ends = (k for k in range(1, min(len(self.text) - 1, len(piece)) + 1) if piece.endswith(self.text[:k]))
        return min((self.rest[k] for k in ends), default=np.inf)


def _rest(text: bytes, spelling: Spelling) -> list[float]:
    rest = [np.inf] * len(text) + [0.0]
    for k in range(len(text) - 1, -1, -1):
        inner = (rest[end] for end in range(k + 1, len(text)) if len(spelling.exactly(text[k:end])))
        low, high = spelling.span(text[k:])
        rest[k] = 1.0 + min(inner, default=np.inf) if low == high else 1.0
    return rest
