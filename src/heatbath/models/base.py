"""What a model is: something that opens a session on prompts and gives the energies of the next token.

Energies are −logits, in nats, `+inf` where a token is forbidden. Arrays are NumPy for the exact models and torch
tensors (any float dtype, any device) for neural ones; `heatbath.ensemble` takes both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Tokens = Sequence[int]


@dataclass(frozen=True)
class ScoreChunk:
    """Energies of a stretch of scored positions, flat over sequences: n (sequence, position) pairs.

    `energies[i]` (n, V) is the ensemble that predicted `targets[i]`, the token at `positions[i]` of sequence `rows[i]`.
    """

    rows: Sequence[int]
    positions: Sequence[int]
    targets: Sequence[int]
    energies: Any


@dataclass(frozen=True)
class Capabilities:
    """What more a model can give than energies."""

    hidden_states: bool = False
    attention: bool = False
    gradients: bool = False


class Session(ABC):
    """A batch of growing sequences. Rows keep their order; `fork` alone changes which rows there are."""

    @property
    @abstractmethod
    def tokens(self) -> Sequence[Tokens]:
        """The tokens of each row so far: prompt and pushed."""

    @abstractmethod
    def energies(self) -> Any:
        """Energies of the next token, (B, V), nats. The same array until the next `push` or `fork`."""

    @abstractmethod
    def push(self, tokens: Sequence[int]) -> None:
        """Append one token to every row, (B,)."""

    @abstractmethod
    def fork(self, indices: Sequence[int]) -> None:
        """Keep the rows `indices`, in that order: repeats copy a row, absences drop it. At least one."""

    def close(self) -> None:  # noqa: B027
        """Free what the session holds. Nothing may be asked of it afterwards; closing it again does nothing."""


@dataclass(frozen=True)
class Vocabulary:
    """What a model's tokens mean: ids that start a document and end one, and the names of a fixed few."""

    size: int
    start_token_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    special_token_ids: frozenset[int] = field(default_factory=frozenset)


class Model(ABC):
    """A source of energies. Its contract suite is `heatbath.testing.check_model`."""

    name: str
    vocabulary: Vocabulary
    context_length: int | None
    capabilities: Capabilities = Capabilities()

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash over weights, config and tokenizer: `sha256:…`. Goes into every file written from this model."""

    @abstractmethod
    def open(self, prompts: Sequence[Tokens]) -> Session:
        """A session on a batch of prompts of any lengths. An empty prompt stands for the document start."""

    @abstractmethod
    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        """Teacher-forced energies, streamed: every position that has a token before it, each exactly once.

        Rows of one sequence come in order of position. Never holds (B, T, V).
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Tokens of a text, control tokens in it read as text; exactly what the tokenizer adds by itself."""

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for (part of a multi-byte character, perhaps)."""

    def decode(self, tokens: Tokens) -> str:
        """The text of tokens, bytes joined first; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")
