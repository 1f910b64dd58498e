"""Fields that forbid or weigh phrases, however they are tokenized."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.casefold import fold_case, split_incomplete_character, starts_inside_character
from heatbath.energy.context import Table, validate_stop_token_ids, validate_vocab_size
from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.energy.spec import BuildContext, Spec, as_texts
from heatbath.energy.vocab_bytes import Ints, VocabBytes, build_vocab_bytes, encode_phrase
from heatbath.errors import BadInput

MatchState = tuple[bytes, bytes]
"""The longest proper prefix of a phrase that the completion ends with, and the bytes of an incomplete character."""

_NO_TOKENS: Ints = np.zeros(0, np.intp)
_MAX_CACHED_TOKENS = 4_000_000


class PhraseEnergy(Field):
    r"""`energy` nats for each token that completes a phrase in the bytes of the completion, (B, V).

    $E(v)$ is `energy` if a phrase ends within $v$ in the bytes of the completion followed by $v$, however many do; 0
    otherwise. Every tokenization of a phrase is covered, also where it begins or ends inside a token. The prompt does
    not count. A stop token adds no text and never gets an energy.

    With `ignore_case`, characters match if their simple case foldings do (`heatbath.energy.casefold.fold_case`), also
    characters split between tokens; phrases must then be text or UTF-8.

    Raises `BadInput` for an energy of NaN or -inf, an empty list, an empty phrase, and a context with another
    vocabulary size.
    Source: Aho and Corasick 1975, doi:10.1145/360825.360855; states are the strings that they stand for.
    """

    name = "phrase_energy"

    def __init__(
        self,
        phrases: Iterable[str | bytes],
        token_bytes: Callable[[int], bytes],
        vocab_size: int,
        *,
        energy: float,
        ignore_case: bool = False,
    ) -> None:
        if not energy > -np.inf:
            raise BadInput(f"the energy of field {self.name!r} must be finite, or inf to forbid, got {energy}.")
        self.energy, self.ignore_case, self.vocab_size = float(energy), ignore_case, vocab_size
        self.phrases = frozenset(
            _fold_phrases(phrases, self.name) if ignore_case else _encode_phrases(phrases, self.name)
        )
        if not self.phrases:
            raise BadInput(f"field {self.name!r} needs at least one phrase, got none.")
        self._token_pieces = [bytes(token_bytes(token)) for token in range(vocab_size)]
        vocab_bytes = build_vocab_bytes(token_bytes, vocab_size, fold=fold_case if ignore_case else bytes)
        self._sorted_tokens = vocab_bytes.sorted_tokens
        self._completion_spans = _build_completion_spans(self.phrases, vocab_bytes)
        self._token_energies = _phrase_token_energies(self.phrases, vocab_bytes, self.energy)
        self._continuation_tokens = np.asarray(
            [t for t, piece in enumerate(self._token_pieces) if starts_inside_character(piece)], np.intp
        )
        self._phrase_lengths = sorted(set(map(len, self.phrases)))
        self._match_states: PrefixMemo[MatchState] = PrefixMemo((b"", b""), self._extend_match_state, size=4096)
        self._energy_changes: dict[MatchState, tuple[Ints, Ints]] = {}
        self._cached_tokens = 0

    def __call__(self, context: Context) -> Table:
        validate_vocab_size(context, self.vocab_size, self.name)
        ending = validate_stop_token_ids(context, self.name)
        energies = np.empty((len(context), self.vocab_size), np.float32)
        energies[:] = self._token_energies
        for row in range(len(context)):
            if context.is_finished(row):
                energies[row] = 0
                continue
            state = self._match_states(context.completion(row))
            if state != (b"", b""):
                self._apply_match_state(energies[row], state)
        energies[:, ending] = 0
        return energies

    def _apply_match_state(self, energies: npt.NDArray[np.float32], state: MatchState) -> None:
        """Apply the difference between a match state and the initial state to the energies of a row."""
        changes = self._energy_changes.get(state)
        if changes is None:
            changes = (
                self._resolve_pending_character(*state) if state[1] else (self._completing_tokens(state[0]), _NO_TOKENS)
            )
            self._cached_tokens += sum(map(len, changes))
            if self._cached_tokens > _MAX_CACHED_TOKENS:
                self._energy_changes, self._cached_tokens = {}, 0
            self._energy_changes[state] = changes
        completing, others = changes
        energies[others] = 0
        energies[completing] = self.energy

    def _completing_tokens(self, matched: bytes) -> Ints:
        """Return the tokens that complete a phrase begun anywhere in `matched`."""
        spans = [span for i in range(len(matched)) for span in self._completion_spans.get(matched[i:], ())]
        if not spans:
            return _NO_TOKENS
        low, high = np.asarray(spans, np.intp).T
        lengths = high - low
        # Concatenate the ranges low[i] … high[i] - 1.
        indices: Ints = np.arange(lengths.sum()) + np.repeat(high - np.cumsum(lengths), lengths)
        return np.asarray(self._sorted_tokens[indices])

    def _resolve_pending_character(self, matched: bytes, pending: bytes) -> tuple[Ints, Ints]:
        """Return the tokens that complete a phrase after an incomplete character, which is then folded, and others."""
        separate = np.setdiff1d(
            self._completing_tokens(self._advance_match(matched, pending)), self._continuation_tokens
        )
        completed = (
            fold_case(split_incomplete_character(pending + self._token_pieces[token])[0])
            for token in self._continuation_tokens
        )
        complete = np.asarray([self._completes_phrase(matched, piece) for piece in completed], bool)
        return np.concatenate([separate, self._continuation_tokens[complete]]), self._continuation_tokens[~complete]

    def _completes_phrase(self, matched: bytes, piece: bytes) -> bool:
        text = matched + piece
        ends = range(len(matched) + 1, len(text) + 1)
        return any(text[end - n : end] in self.phrases for end in ends for n in self._phrase_lengths if n <= end)

    def _extend_match_state(self, state: MatchState, tokens: Sequence[int]) -> MatchState:
        matched, pending = state
        for token in tokens:
            piece = self._token_pieces[token]
            if self.ignore_case:
                complete, pending = split_incomplete_character(pending + piece)
                piece = fold_case(complete)
            matched = self._advance_match(matched, piece)
        return matched, pending

    def _advance_match(self, matched: bytes, piece: bytes) -> bytes:
        """Return the longest suffix of `matched + piece` that is a proper prefix of a phrase."""
        for i in range(len(piece)):
            matched += piece[i : i + 1]
            while matched and matched not in self._completion_spans:
                matched = matched[1:]
        return matched


class ForbiddenPhrases(PhraseEnergy):
    """Energy +inf for each token that completes a phrase in the bytes of the completion, (B, V); see `PhraseEnergy`."""

    name = "forbid_phrases"

    def __init__(
        self,
        phrases: Iterable[str | bytes],
        token_bytes: Callable[[int], bytes],
        vocab_size: int,
        *,
        ignore_case: bool = False,
    ) -> None:
        super().__init__(phrases, token_bytes, vocab_size, energy=np.inf, ignore_case=ignore_case)


def _encode_phrases(phrases: Iterable[str | bytes], name: str) -> Iterable[bytes]:
    if isinstance(phrases, str | bytes):
        raise BadInput(f"field {name!r} takes a list of phrases: write [{phrases!r:.40}].")
    return (encode_phrase(phrase, name) for phrase in phrases)


def _fold_phrases(phrases: Iterable[str | bytes], name: str) -> Iterable[bytes]:
    for phrase in _encode_phrases(phrases, name):
        try:
            phrase.decode()
        except UnicodeDecodeError:
            raise BadInput(f"field {name!r} cannot ignore the case of {phrase!r}: it is not valid UTF-8.") from None
        yield fold_case(phrase)


def _build_completion_spans(phrases: frozenset[bytes], vocab_bytes: VocabBytes) -> dict[bytes, list[tuple[int, int]]]:
    """Map each proper prefix of a phrase to the ranges of sorted tokens that complete a phrase after it."""
    spans: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    span_by_rest: dict[bytes, tuple[int, int]] = {}
    for phrase in phrases:
        for cut in range(1, len(phrase)):
            rest, prefix_spans = phrase[cut:], spans[phrase[:cut]]
            if len(rest) > vocab_bytes.max_piece_length:
                continue
            if rest not in span_by_rest:
                span_by_rest[rest] = vocab_bytes.prefix_span(rest)
            if span_by_rest[rest][0] < span_by_rest[rest][1]:
                prefix_spans.append(span_by_rest[rest])
    return dict(spans)


def _phrase_token_energies(
    phrases: frozenset[bytes], vocab_bytes: VocabBytes, energy: float
) -> npt.NDArray[np.float32]:
    """Return energies (V,), `energy` for the tokens that contain a phrase."""
    lengths = sorted({len(phrase) for phrase in phrases if len(phrase) <= vocab_bytes.max_piece_length})
    return np.asarray(
        [energy if _contains_phrase(piece, phrases, lengths) else 0 for piece in vocab_bytes.pieces], np.float32
    )


def _contains_phrase(piece: bytes, phrases: frozenset[bytes], lengths: list[int]) -> bool:
    return any(piece[i : i + n] in phrases for n in lengths for i in range(len(piece) - n + 1))


def _build_forbid(context: BuildContext, phrases: str | Sequence[str], *, ignore_case: bool = False) -> Field:
    return ForbiddenPhrases(as_texts(phrases), context.token_bytes, context.vocab_size, ignore_case=ignore_case)


def _build_phrase_energy(
    context: BuildContext, phrases: str | Sequence[str], energy: float, *, ignore_case: bool = False
) -> Field:
    texts = as_texts(phrases)
    return PhraseEnergy(texts, context.token_bytes, context.vocab_size, energy=energy, ignore_case=ignore_case)


SPECS = (
    Spec("forbid", "field", _build_forbid, '"phrase" or ["phrase", …]', order=10),
    Spec("phrase_energy", "field", _build_phrase_energy, '{"phrases": ["phrase", …], "energy": 2.0}', order=15),
)
