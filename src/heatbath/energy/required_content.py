"""A field that requires phrases or tokens before the completion may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.context import (
    Table,
    unfinished_rows,
    validate_count,
    validate_stop_token_ids,
    validate_vocab_size,
    zero_energies,
)
from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.energy.spec import BuildContext, Spec, as_texts
from heatbath.energy.vocab_bytes import VocabBytes, build_vocab_bytes, encode_phrase
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]


class RequiredPhrases(Field):
    r"""Energy +inf for stop tokens until the completion contains every item of `required`, (B, V).

    `required` holds phrases (text or bytes, matched in the bytes of the completion however they are tokenized) and
    token ids. With `max_tokens`, the length limit of the completion, $E(v) = \infty$ also for each token after which
    the missing items would no longer fit, so that no completion of that length lacks one. With one phrase these tokens
    are exact; with several, room is reserved for writing them one after another, so that phrases which could overlap
    are forced a little early.

    Raises `BadInput` for an empty list, a phrase that no tokens spell, items that do not fit into `max_tokens`, and a
    context with another vocabulary size.
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
            raise BadInput(f"field {self.name!r} takes a list of phrases and tokens: write [{required!r:.40}].")
        self.vocab_size = vocab_size
        self.max_tokens = validate_count(max_tokens, f"`max_tokens` of field {self.name!r}")
        self._vocab_bytes = build_vocab_bytes(token_bytes, vocab_size)
        self._goals = [self._build_goal(item) for item in required]
        if not self._goals:
            raise BadInput(f"field {self.name!r} needs at least one phrase or token, got none.")
        start: tuple[int | None, ...] = (0,) * len(self._goals)
        self._progress_states: PrefixMemo[tuple[int | None, ...]] = PrefixMemo(start, self._extend_progress)
        shortest = 1 + float(self._count_remaining_tokens(start).min())
        if self.max_tokens is not None and shortest > self.max_tokens:
            raise BadInput(
                f"field {self.name!r} needs at least {shortest:.0f} tokens, `max_tokens` is {self.max_tokens}."
            )

    def __call__(self, context: Context) -> Table:
        validate_vocab_size(context, self.vocab_size, self.name)
        ending, energies = validate_stop_token_ids(context, self.name), zero_energies(context)
        for row in unfinished_rows(context):
            completion = context.completion(row)
            state = self._progress_states(completion)
            if all(progress is None for progress in state):
                continue
            self._forbid_late_tokens(energies[row], state, len(completion))
            energies[row, ending] = np.inf
        return energies

    def _forbid_late_tokens(
        self, energies: npt.NDArray[np.float32], state: tuple[int | None, ...], length: int
    ) -> None:
        """Forbid the tokens after which the missing items need more tokens than are left."""
        if self.max_tokens is None:
            return
        left = self.max_tokens - length - 1
        if sum(goal.tokens_from_start for goal, progress in self._unmet_goals(state)) > left:
            energies[self._count_remaining_tokens(state) > left] = np.inf

    def _unmet_goals(self, state: tuple[int | None, ...]) -> list[tuple[_PhraseGoal | _TokenGoal, int]]:
        pairs = zip(self._goals, state, strict=True)
        return [(goal, progress) for goal, progress in pairs if progress is not None]

    def _count_remaining_tokens(self, state: tuple[int | None, ...]) -> Floats:
        """Bound from above the tokens still needed after each token: finish one started item, then the others."""
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
            raise BadInput(f"field {self.name!r}: token {item} is outside the vocabulary of {self.vocab_size}.")
        return _TokenGoal(int(item), self.vocab_size)

    def _extend_progress(self, state: tuple[int | None, ...], tokens: Sequence[int]) -> tuple[int | None, ...]:
        for token in tokens:
            piece = self._vocab_bytes.pieces[token]
            pairs = zip(self._goals, state, strict=True)
            state = tuple(None if at is None else goal.advance(at, token, piece) for goal, at in pairs)
        return state


class _TokenGoal:
    """A required token: `tokens_from_start` tokens are enough for it."""

    tokens_from_start = 1.0

    def __init__(self, token: int, size: int) -> None:
        self.token, self.size = token, size

    def advance(self, progress: int, token: int, piece: bytes) -> int | None:
        return None if token == self.token else 0

    def remaining_tokens(self, progress: int) -> Floats:
        return np.where(np.arange(self.size) == self.token, 0.0, 1.0)


class _PhraseGoal:
    """A required phrase. Its progress is the length of the prefix that the completion ends with, None when complete.

    `suffix_lengths[k]` is the fewest tokens that spell the phrase from byte k on, the last of which may extend beyond
    its end; `remaining_from_start` (V,) the tokens missing after each token at progress 0, `tokens_from_start` before.
    """

    def __init__(self, text: bytes, vocab_bytes: VocabBytes) -> None:
        self.text, self.vocab_bytes = text, vocab_bytes
        self.suffix_lengths = _suffix_token_counts(text, vocab_bytes)
        after_piece = np.asarray([self._remaining_after_piece(piece) for piece in vocab_bytes.pieces])
        self.tokens_from_start = 1.0 + float(after_piece.min())
        if self.tokens_from_start == np.inf:
            raise BadInput(f"field 'require': no tokens of this vocabulary spell {text!r}.")
        self.remaining_from_start: Floats = np.minimum(after_piece, self.tokens_from_start)

    def advance(self, progress: int, token: int, piece: bytes) -> int | None:
        tail = self.text[:progress] + piece
        if self.text in tail:
            return None
        return next((k for k in range(min(len(tail), len(self.text) - 1), 0, -1) if tail.endswith(self.text[:k])), 0)

    def remaining_tokens(self, progress: int) -> Floats:
        """Count the tokens missing after each token, 0 if it completes the phrase, (V,)."""
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
    """Compute the fewest tokens that spell `text` from each byte on, (len + 1,); the last may extend beyond the end."""
    counts = [np.inf] * len(text) + [0.0]
    for k in range(len(text) - 1, -1, -1):
        inner = (counts[end] for end in range(k + 1, len(text)) if len(vocab_bytes.tokens_with_bytes(text[k:end])))
        low, high = vocab_bytes.prefix_span(text[k:])
        counts[k] = 1.0 + min(inner, default=np.inf) if low == high else 1.0
    return counts


def _build_require(context: BuildContext, phrases: str | Sequence[str]) -> Field:
    return RequiredPhrases(as_texts(phrases), context.token_bytes, context.vocab_size, max_tokens=context.max_tokens)


SPEC = Spec("require", "field", _build_require, '"phrase" or ["phrase", …]', order=30)
