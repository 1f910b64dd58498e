"""The abstract types of a model: `Model`, `Session`, and the capabilities that only some models have.

Energies are −logits, in nats, `+inf` where a token is forbidden. Arrays are NumPy for the exact models and torch
tensors (any float dtype, any device) for neural ones; `heatbath.ensemble` takes both.

A capability is a protocol, tested with `isinstance(model, ChatModel)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from heatbath.errors import BadInput
from heatbath.short_repr import format_repr, short_repr

Tokens = Sequence[int]


@dataclass(frozen=True, repr=False)
class ScoreChunk:
    """Energies of a stretch of scored positions, flat over sequences: n (sequence, position) pairs.

    `energies[i]` (n, V) is the ensemble that predicted `targets[i]`, the token at `positions[i]` of sequence `rows[i]`.
    """

    rows: Sequence[int]
    positions: Sequence[int]
    targets: Sequence[int]
    energies: Any

    __repr__ = short_repr


class Session(ABC):
    """A batch of growing sequences. Rows keep their order; only `fork` changes which rows there are."""

    @property
    @abstractmethod
    def tokens(self) -> Sequence[Tokens]:
        """The tokens of each row so far: prompt and pushed tokens."""

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
        """Free the memory of the session, which cannot be used afterwards. Closing it again does nothing."""


@runtime_checkable
class ChunkedSession(Protocol):
    """A session that can evaluate long prompts in chunks, before its energies are asked for."""

    @property
    def num_unread(self) -> int:
        """Number of pending tokens beyond those that `energies` evaluates at once."""

    def read_chunk(self) -> None:
        """Evaluate a chunk of the pending tokens. For a session with `num_unread` above 0."""


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """The size of a vocabulary, the ids that start a document and end one, and the ids of control tokens."""

    size: int
    start_token_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    special_token_ids: frozenset[int] = field(default_factory=frozenset)

    __repr__ = short_repr


class Model(ABC):
    """A source of energies. Its contract suite is `heatbath.testing.check_model`."""

    name: str
    vocabulary: Vocabulary
    context_length: int | None

    def __repr__(self) -> str:
        return format_repr(type(self).__name__, self._repr_values(), first=self.name)

    def _repr_values(self) -> dict[str, Any]:
        """Return the values that `repr` shows beside the name."""
        context = {} if self.context_length is None else {"context_length": self.context_length}
        return {"vocab_size": self.vocabulary.size, **context}

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash over weights, config and tokenizer: `sha256:…`. Goes into every file written from this model."""

    @abstractmethod
    def open(self, prompts: Sequence[Tokens]) -> Session:
        """Open a session on a batch of prompts of any lengths. An empty prompt stands for the document start."""

    @abstractmethod
    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        """Teacher-forced energies, streamed: every position that has a token before it, each exactly once.

        Rows of one sequence come in order of position. Never holds (B, T, V).
        """

    @abstractmethod
    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        """Tokens of a text, control tokens in it read as text; exactly what the tokenizer adds by itself.

        With `document_start=False` the text is a fragment of a document: nothing is added, and the bytes of the tokens
        are those of the text.
        """

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for, which may be part of a multi-byte character."""

    def decode(self, tokens: Tokens) -> str:
        """The text of tokens, bytes joined first; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")


@runtime_checkable
class ChunkedScoring(Protocol):
    """A model that scores sequences in chunks of a given size, for a host that does other work between them."""

    def score_in_chunks(self, sequences: Sequence[Tokens], positions: int) -> Iterator[ScoreChunk]:
        """As `Model.score`, with at most about `positions` positions evaluated for each chunk."""


@runtime_checkable
class ChatModel(Protocol):
    """A model with a chat template."""

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Tokens of a conversation (`role`, `content`), up to where the response begins."""


@runtime_checkable
class TemplateModel(ChatModel, Protocol):
    """A model whose tokenizer may come without a chat template."""

    @property
    def has_chat_template(self) -> bool:
        """True if `encode_chat` works."""


def has_chat_template(model: object) -> bool:
    """Return whether a model can encode a conversation."""
    return model.has_chat_template if isinstance(model, TemplateModel) else isinstance(model, ChatModel)


def encode_chat(model: Model, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Tokens of a conversation by the model's chat template. Raises `BadInput` for a model without one."""
    if not isinstance(model, ChatModel):
        raise BadInput(f"{model.name} has no chat template: give a plain prompt instead of messages.")
    return list(model.encode_chat(messages))


@runtime_checkable
class TensorModel(Protocol):
    """A model whose energies are tensors of one precision on one device."""

    @property
    def dtype(self) -> Any:
        """The dtype of weights and energies."""

    @property
    def device(self) -> Any:
        """The device of weights and energies."""


def dtype_name(model: object) -> str | None:
    """Return the dtype of a model's energies as text, such as "bfloat16"; None for a model without tensors."""
    return str(model.dtype).removeprefix("torch.") if isinstance(model, TensorModel) else None


@runtime_checkable
class ToolModel(Protocol):
    """A model whose chat template has variables, may end within a message, and may describe tools."""

    @property
    def takes_tools(self) -> bool:
        """True if the template itself describes tools to the model."""

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """As in `ChatModel`; `options` are those of `heatbath.models.hf.tokenizer.ModelTokenizer.encode_chat`."""


@runtime_checkable
class TokenizerModel(Protocol):
    """A model whose tokenizer has a configuration, and can read control tokens in a text as such."""

    @property
    def tokenizer_config(self) -> dict[str, Any]:
        """The configuration as tokenizer_config.json has it, ready for JSON, without paths."""

    def encode_with_control_tokens(self, text: str, *, document_start: bool = True) -> list[int]:
        """Tokens of a text, control tokens in it read as such; `document_start=False` adds none."""


class LogprobGradients(Protocol):
    """Log-probabilities of sequences and how they change with the tokens."""

    @property
    def logprobs(self) -> Any:
        """Log-probability of every token at each place, given those before, (B, L, V)."""

    @property
    def embedding_gradient(self) -> Any:
        """Derivative of log p of the sequences with respect to the embeddings of their tokens, (B, L, D)."""


@runtime_checkable
class GradientModel(Protocol):
    """A model that gives derivatives with respect to its input embeddings."""

    @property
    def embeddings(self) -> Any:
        """The input embedding of every token, (V, D)."""

    def token_gradients(self, sequences: Sequence[Tokens], length: int, *, beta: float) -> LogprobGradients:
        """Gradients of the last `length` tokens of sequences of one length, at inverse temperature `beta`."""


@runtime_checkable
class AttentionModel(Protocol):
    """A model that gives the attention weights of its layers."""

    def attentions(self, tokens: Tokens) -> Any:
        """Attention weights of one sequence (T,), (L, H, T, T): row t sums to one over the positions up to t."""


@runtime_checkable
class NetworkModel(Protocol):
    """A model that runs a neural network of `transformers`."""

    @property
    def network(self) -> Any:
        """The network, a `heatbath.models.hf.network.Network`."""
