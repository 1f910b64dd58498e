"""The base of exact models: a small state per row, a rule that advances it, and the energies in each state.

A subclass defines `initial_state`, `advance` and `next_energies`; sessions, scoring and text follow from them.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.models.base import Model, ScoreChunk, Session, Tokens, Vocabulary
from heatbath.models.validation import validate_context_length, validate_fork, validate_push, validate_token_ids

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DEFAULT_SYMBOLS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MIN_CHUNK_ENERGIES = 1 << 16


class ExactModel(Model):
    """A model defined by a recurrence on a small integer state, (B, k): exact, fast and without weights."""

    def __init__(self, name: str, vocabulary: Vocabulary, symbols: Sequence[bytes] | None = None) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.context_length: int | None = None
        self.symbols = _resolve_symbols(vocabulary.size, symbols)

    @abstractmethod
    def initial_state(self, rows: int) -> Ints:
        """Return the state before the first token, (B, k)."""

    @abstractmethod
    def advance(self, state: Ints, tokens: Ints) -> Ints:
        """Return the state (B, k) after one more token per row, (B,)."""

    @abstractmethod
    def next_energies(self, state: Ints) -> Floats:
        """Return the energies of the next token, (B, V), nats."""

    def open(self, prompts: Sequence[Tokens]) -> Session:
        """Open a session on prompts of any lengths; an empty prompt starts at the first token."""
        return _ExactSession(self, prompts)

    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        """Yield the energies of every token that has one before it, position by position across the sequences."""
        rows = [_validate_prompt(self, row, tokens) for row, tokens in enumerate(sequences)]
        return _merge_chunks(
            _score_by_position(self, rows), min_positions=max(1, _MIN_CHUNK_ENERGIES // self.vocabulary.size)
        )

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the tokens of a text, the longest matching symbol first. Raises `BadInput` where no symbol fits."""
        rest, tokens = text.encode(), []
        while rest:
            candidates = [token for token, symbol in enumerate(self.symbols) if rest.startswith(symbol)]
            if not candidates:
                raise BadInput(f"{self.name} has no symbol for {text!r} at byte {len(text.encode()) - len(rest)}.")
            tokens.append(max(candidates, key=lambda token: len(self.symbols[token])))
            rest = rest[len(self.symbols[tokens[-1]]) :]
        return tokens

    def token_bytes(self, token: int) -> bytes:
        """Return the symbol of a token."""
        if not 0 <= token < self.vocabulary.size:
            raise BadInput(f"token {token} is outside the vocabulary of {self.vocabulary.size}.")
        return self.symbols[token]


def log_probabilities(energies: Floats, beta: float) -> Floats:
    r"""Return $\log p = -\beta E - \log Z$ over the last axis.

    An energy of +inf is forbidden at beta = 0 too; beta = inf leaves the ground states alone.
    """
    if not beta >= 0:
        raise BadInput(f"`beta` must be from 0 to inf, got {beta}.")
    excess = energies - energies.min(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        logw = np.where(excess == 0, 0.0, np.where(np.isinf(excess), -np.inf, -beta * excess))
    return np.asarray(logw - np.log(np.exp(logw).sum(-1, keepdims=True)))


def parameter_fingerprint(kind: str, *parts: object) -> str:
    """Return a fingerprint over a model's kind and parameters; arrays count byte by byte."""
    total = hashlib.sha256(kind.encode())
    for part in parts:
        data = part.tobytes() + str(part.shape).encode() if isinstance(part, np.ndarray) else repr(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return f"sha256:{total.hexdigest()}"


@dataclass(frozen=True)
class SessionTokens(Sequence[Tokens]):
    """The tokens of each row: its prompt and its column of `pushed_tokens` (T, B), concatenated on access."""

    prompts: Sequence[Tokens]
    pushed_tokens: Ints

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return [*self.prompts[row], *self.pushed_tokens[:, row].tolist()]


class _ExactSession(Session):
    """The session of an exact model. Pushed tokens are stored step by step, so that a push writes one array row."""

    def __init__(self, model: ExactModel, prompts: Sequence[Tokens]) -> None:
        if not len(prompts):
            raise BadInput("a session needs at least one prompt; [[]] starts one empty row.")
        self._model = model
        self._prompts: Sequence[Tokens] = [
            _validate_prompt(model, row, tokens).tolist() for row, tokens in enumerate(prompts)
        ]
        self._max_prompt_length = max(map(len, self._prompts))
        self._pushed_tokens = np.empty((16, len(prompts)), np.int64)
        self._num_pushed = 0
        self._state = _state_after_prompts(model, self._prompts)
        self._energies: Floats | None = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return SessionTokens(self._prompts, self._pushed_tokens[: self._num_pushed])

    def energies(self) -> Floats:
        if self._energies is None:
            self._energies = self._model.next_energies(self._state)
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        column = validate_push(tokens, len(self._prompts), self._model.vocabulary.size)
        validate_context_length(self._max_prompt_length + self._num_pushed + 1, self._model.context_length)
        if self._num_pushed == len(self._pushed_tokens):
            self._pushed_tokens = np.concatenate([self._pushed_tokens, np.empty_like(self._pushed_tokens)])
        self._pushed_tokens[self._num_pushed] = column
        self._num_pushed += 1
        self._state = self._model.advance(self._state, column)
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        rows = validate_fork(indices, len(self._prompts))
        self._prompts = [self._prompts[row] for row in rows]
        self._max_prompt_length = max(map(len, self._prompts))
        self._pushed_tokens = self._pushed_tokens[:, rows]
        self._state = self._state[rows]
        self._energies = None


def _resolve_symbols(size: int, symbols: Sequence[bytes] | None) -> tuple[bytes, ...]:
    if symbols is None:
        single = [_DEFAULT_SYMBOLS[i : i + 1] for i in range(len(_DEFAULT_SYMBOLS))]
        symbols = single[:size] if size <= len(single) else [b"<%d>" % i for i in range(size)]
    if len(symbols) != size or len(set(symbols)) != size or b"" in symbols:
        raise BadInput(f"`symbols` must be {size} different, non-empty byte strings, got {list(symbols)!r}.")
    return tuple(symbols)


def _validate_prompt(model: Model, row: int, tokens: Tokens) -> Ints:
    array = np.asarray(tokens)
    if array.ndim != 1:
        raise BadInput(f"prompt {row} must be a flat list of token ids, got shape {array.shape}.")
    validate_context_length(len(array), model.context_length)
    return validate_token_ids(array, model.vocabulary.size)


def _state_after_prompts(model: ExactModel, prompts: Sequence[Tokens]) -> Ints:
    state = model.initial_state(len(prompts))
    for t in range(max(map(len, prompts))):
        rows = [b for b, prompt in enumerate(prompts) if len(prompt) > t]
        state[rows] = model.advance(state[rows], np.asarray([prompts[b][t] for b in rows], np.int64))
    return state


def _score_by_position(model: ExactModel, sequences: Sequence[Ints]) -> Iterator[ScoreChunk]:
    lengths = np.asarray([len(tokens) for tokens in sequences])
    state, rows = model.initial_state(len(sequences)), np.arange(len(sequences))
    for t in range(lengths.max(initial=0)):
        active = lengths[rows] > t
        rows, state = rows[active], state[active]
        targets = np.asarray([sequences[row][t] for row in rows.tolist()], np.int64)
        if t:
            yield ScoreChunk(rows.tolist(), [t] * len(rows), targets.tolist(), model.next_energies(state))
        state = model.advance(state, targets)


def _merge_chunks(chunks: Iterator[ScoreChunk], *, min_positions: int) -> Iterator[ScoreChunk]:
    """Join chunks to at least `min_positions`, so that a long sequence does not come one position at a time."""
    parts: list[ScoreChunk] = []
    positions = 0
    for chunk in chunks:
        parts.append(chunk)
        positions += len(chunk.rows)
        if positions >= min_positions:
            yield _concatenate_chunks(parts)
            parts, positions = [], 0
    if parts:
        yield _concatenate_chunks(parts)


def _concatenate_chunks(parts: Sequence[ScoreChunk]) -> ScoreChunk:
    return ScoreChunk(
        [row for part in parts for row in part.rows],
        [position for part in parts for position in part.positions],
        [target for part in parts for target in part.targets],
        np.concatenate([part.energies for part in parts]),
    )
