"""What an answer must hold before it may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.energy.context import (
    Table,
    unfinished_rows,
    validate_count,
    validate_stop_token_ids,
    validate_vocab_size,
    zero_energies,
)
from heatbath.energy.vocab_bytes import VocabBytes, build_vocab_bytes, encode_phrase
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]


class RequiredPhrases(Field):
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
        required: Iterable[str | bytes | int],
        token_bytes: Callable[[int], bytes],
        vocab_size: int,
        *,
        max_tokens: int | None = None,
    ) -> None:
        if isinstance(required, str | bytes):
            raise BadInput(f"field {self.name!r} takes a list of what is wanted, not one: write [{required!r:.40}].")
        self.vocab_size = vocab_size
        self.max_tokens = validate_count(max_tokens, "the max_tokens of field 'require'")
        self._vocab_bytes = build_vocab_bytes(token_bytes, vocab_size)
        self._goals = [self._build_goal(item) for item in required]
        if not self._goals:
            raise BadInput(f"field {self.name!r} wants nothing: give a phrase or a token.")
        start: tuple[int | None, ...] = (0,) * len(self._goals)
        self._progress_states: PrefixMemo[tuple[int | None, ...]] = PrefixMemo(start, self._extend_progress)
        least = 1 + float(self._count_remaining_tokens(start).min())
        if self.max_tokens is not None and least > self.max_tokens:
            raise BadInput(f"field {self.name!r} needs {least:.0f} tokens or more, max_tokens is {self.max_tokens}.")

    def __call__(self, context: Context) -> Table:
        validate_vocab_size(context, self.vocab_size, self.name)
        ending, energies = validate_stop_token_ids(context, self.name), zero_energies(context)
        for row in unfinished_rows(context):
            answer = context.completion(row)
            state = self._progress_states(answer)
            if all(progress is None for progress in state):
                continue
            self._forbid_late_tokens(energies[row], state, len(answer))
            energies[row, ending] = np.inf
        return energies

    def _forbid_late_tokens(
        self, energies: npt.NDArray[np.float32], state: tuple[int | None, ...], length: int
    ) -> None:
        """Forbid tokens after which what is missing takes more tokens than are left."""
        if self.max_tokens is None:
            return
        left = self.max_tokens - length - 1
        if sum(goal.tokens_from_start for goal, progress in self._unmet_goals(state)) > left:
            energies[self._count_remaining_tokens(state) > left] = np.inf

    def _unmet_goals(self, state: tuple[int | None, ...]) -> list[tuple[_PhraseGoal | _TokenGoal, int]]:
        pairs = zip(self._goals, state, strict=True)
        return [(goal, progress) for goal, progress in pairs if progress is not None]

    def _count_remaining_tokens(self, state: tuple[int | None, ...]) -> Floats:
        """Tokens still to come after each token that go with certainty: finish one that is begun, then the others."""
        total, gain = np.zeros(self.vocab_size), np.zeros(self.vocab_size)
        for goal, progress in self._unmet_goals(state):
            after = goal.remaining_tokens(progress)
            total += np.where(after > 0, goal.tokens_from_start, 0.0)
            gain = np.minimum(gain, np.where(after > 0, after - goal.tokens_from_start, 0.0))
        return total + gain

    def _build_goal(self, item: str | bytes | int) -> _PhraseGoal | _TokenGoal:
        if isinstance(item, str | bytes):
            return _PhraseGoal(encode_phrase(item, self.name), self._vocab_bytes)
        if not 0 <= item < self.vocab_size:
            raise BadInput(f"field {self.name!r} wants token {item}, outside the vocabulary of {self.vocab_size}.")
        return _TokenGoal(int(item), self.vocab_size)

    def _extend_progress(self, state: tuple[int | None, ...], tokens: Sequence[int]) -> tuple[int | None, ...]:
        for token in tokens:
            piece = self._vocab_bytes.pieces[token]
            pairs = zip(self._goals, state, strict=True)
            state = tuple(None if at is None else goal.advance(at, token, piece) for goal, at in pairs)
        return state


class _TokenGoal:
    """A wanted token: `afresh` tokens bring it from nothing."""

    tokens_from_start = 1.0

    def __init__(self, token: int, size: int) -> None:
        self.token, self.size = token, size

    def advance(self, progress: int, token: int, piece: bytes) -> int | None:
        return None if token == self.token else 0

    def remaining_tokens(self, progress: int) -> Floats:
        return np.where(np.arange(self.size) == self.token, 0.0, 1.0)


class _PhraseGoal:
    """A wanted phrase. Progress is how much of its beginning the answer ends with, None once it was held.

    `rest[k]` is the fewest tokens that spell on from its first k bytes, the last of them perhaps going beyond its end;
    `alone` (V,) what is missing after each token that begins from nothing, `afresh` before it.
    """

    def __init__(self, text: bytes, vocab_bytes: VocabBytes) -> None:
        self.text, self.vocab_bytes = text, vocab_bytes
        self.suffix_lengths = _suffix_token_counts(text, vocab_bytes)
        begun = np.asarray([self._remaining_after_piece(piece) for piece in vocab_bytes.pieces])
        self.tokens_from_start = 1.0 + float(begun.min())
        if self.tokens_from_start == np.inf:
            raise BadInput(f"field 'require': no tokens of this vocabulary spell {text!r}.")
        self.remaining_from_start: Floats = np.minimum(begun, self.tokens_from_start)

    def advance(self, progress: int, token: int, piece: bytes) -> int | None:
        held = self.text[:progress] + piece
        if self.text in held:
            return None
        return next((k for k in range(min(len(held), len(self.text) - 1), 0, -1) if held.endswith(self.text[:k])), 0)

    def remaining_tokens(self, progress: int) -> Floats:
        """Tokens still missing after each token, 0 where it completes the phrase, (V,)."""
        missing = self.remaining_from_start.copy()
        for k in range(1, progress + 1):
            if self.text[:progress].endswith(self.text[:k]):
                for end in range(k, len(self.text)):
                    tokens = self.vocab_bytes.tokens_with_bytes(self.text[k:end])
                    missing[tokens] = np.minimum(missing[tokens], self.suffix_lengths[end])
                missing[self.vocab_bytes.tokens_with_prefix(self.text[k:])] = 0
        return missing

    def _remaining_after_piece(self, piece: bytes) -> float:
        if self.text in piece:
            return 0.0
        ends = (k for k in range(1, min(len(self.text) - 1, len(piece)) + 1) if piece.endswith(self.text[:k]))
        return min((self.suffix_lengths[k] for k in ends), default=np.inf)


def _suffix_token_counts(text: bytes, vocab_bytes: VocabBytes) -> list[float]:
    rest = [np.inf] * len(text) + [0.0]
    for k in range(len(text) - 1, -1, -1):
        inner = (rest[end] for end in range(k + 1, len(text)) if len(vocab_bytes.tokens_with_bytes(text[k:end])))
        low, high = vocab_bytes.prefix_span(text[k:])
        rest[k] = 1.0 + min(inner, default=np.inf) if low == high else 1.0
    return rest
