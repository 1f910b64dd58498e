"""A `Model` on any causal language model of `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from heatbath.errors import BadInput, ModelError
from heatbath.models.base import Model, ScoreChunk, Session, Tokens, Vocabulary
from heatbath.models.hf import introspection
from heatbath.models.hf.end_tokens import as_token_ids, find_end_tokens
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hf.network import build_network
from heatbath.models.hf.network_check import check_network
from heatbath.models.hf.row_sessions import open_session
from heatbath.models.hf.teacher_forcing import score_chunks
from heatbath.models.hf.template_check import find_template_differences
from heatbath.models.hf.token_ids import TokenIds
from heatbath.models.hf.tokenizer import ModelTokenizer
from heatbath.models.validation import validate_context_length, validate_token_ids

_MAX_CONTEXT_LENGTH = 1 << 24


class TransformersModel(Model):
    """A neural model; energies are torch tensors in the dtype and on the device of the weights.

    `module` is a causal language model of `transformers`, `tokenizer` its fast tokenizer, None for one that takes token
    ids alone: the text of token 17 is `<17>` then. `compute_fingerprint` is
    called when the fingerprint is first needed. Raises `ModelError` for a module that is not causal or gives NaN.

    Attributes:
        network_check: what the check of the network measured: causality, cached against uncached energies.
    """

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        *,
        name: str,
        compute_fingerprint: Callable[[], str],
        metadata: ModelMetadata | None = None,
    ) -> None:
        metadata = ModelMetadata() if metadata is None else metadata
        self.name = name
        self.tokenizer = TokenIds() if tokenizer is None else ModelTokenizer(tokenizer, metadata.prepend)
        self.vocabulary = _build_vocabulary(module, tokenizer, self.tokenizer, metadata)
        network = build_network(module, _find_closed_tokens(tokenizer, self.vocabulary, metadata.closed))
        self.context_length = _context_length(network.config)
        self.network, self.network_check = check_network(network, name=name, context_length=self.context_length)
        self._compute_fingerprint = compute_fingerprint

    def _repr_values(self) -> dict[str, Any]:
        return {**super()._repr_values(), "dtype": str(self.dtype), "device": str(self.device)}

    @cached_property
    def fingerprint(self) -> str:
        return self._compute_fingerprint()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and energies."""
        dtype: torch.dtype = self.network.module.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The device of weights and energies."""
        return self.network.device

    def open(self, prompts: Sequence[Tokens]) -> Session:
        """Open a session on prompts of any lengths; an empty prompt is replaced by `vocabulary.start_token_ids`.

        Raises `BadInput` for an empty prompt without a start token, an id outside the vocabulary, or a prompt that is
        too long.
        """
        if not len(prompts):
            raise BadInput("a session needs at least one prompt; [[]] starts one document.")
        resolved = [self.resolve_prompt(prompt) for prompt in prompts]
        return open_session(self.network, resolved, context_length=self.context_length, vocab_size=self.vocabulary.size)

    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        """Yield the energies of every token that has one before it. Raises `BadInput` beyond the context."""
        return score_chunks(self.network, [self._validate_tokens(tokens) for tokens in sequences])

    def score_in_chunks(self, sequences: Sequence[Tokens], positions: int) -> Iterator[ScoreChunk]:
        """Yield what `score` yields, with at most `positions` positions of each sequence evaluated for a chunk."""
        validated = [self._validate_tokens(tokens) for tokens in sequences]
        return score_chunks(self.network, validated, max_positions=positions)

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the tokens of a text, with control tokens in it read as text.

        `document_start=False` leaves out what the tokenizer puts around a document: control tokens and a first space.
        """
        return self.tokenizer.encode(text, document_start=document_start)

    @property
    def tokenizer_config(self) -> dict[str, Any]:
        """The configuration of the tokenizer, ready for JSON."""
        return self.tokenizer.config

    def encode_with_control_tokens(self, text: str, *, document_start: bool = True) -> list[int]:
        """Return the tokens of a text, control tokens in it read as such; `document_start=False` adds none."""
        return self.tokenizer.encode_with_control_tokens(text, document_start=document_start)

    @property
    def takes_tools(self) -> bool:
        """True if the model's chat template describes tools."""
        return self.tokenizer.takes_tools

    @property
    def has_chat_template(self) -> bool:
        """True if the tokenizer has a chat template."""
        return bool(isinstance(self.tokenizer, ModelTokenizer) and self.tokenizer.fast_tokenizer.chat_template)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Return the tokens of a conversation (`role`, `content`), up to where the response starts.

        Control tokens in a content are read as text. `options` are those of `ModelTokenizer.encode_chat`. Raises
        `BadInput` without a chat template, `ModelError` if some short conversations have other ids than
        `transformers` gives them, which is tried once.
        """
        if self._template_differences:
            raise ModelError(
                f"the chat template of {self.name} gives other ids than transformers does "
                f"({self._template_differences[0]}): give prompts instead of messages."
            )
        return self.tokenizer.encode_chat(messages, **options)

    @cached_property
    def _template_differences(self) -> list[str]:
        return find_template_differences(self.tokenizer)[1] if self.has_chat_template else []

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; b"" for ids of the model that the tokenizer never produces."""
        if not 0 <= token < self.vocabulary.size:
            raise BadInput(f"token id {token} is outside the vocabulary of {self.vocabulary.size}.")
        return self.tokenizer.token_bytes(int(token))

    def hidden_states(self, tokens: Tokens) -> torch.Tensor:
        """Return the hidden states of one sequence (T,) before the first layer and after each, (L + 1, T, D)."""
        return introspection.hidden_states(self.network, self._sequence_tensor(tokens))

    def attentions(self, tokens: Tokens) -> torch.Tensor:
        """Return the attention weights of one sequence (T,), (L, H, T, T): row t over the positions up to t."""
        return introspection.attentions(self.network, self._sequence_tensor(tokens))

    def gradient(self, tokens: Tokens, *, position: int | None = None) -> torch.Tensor:
        r"""Return $\partial \log p / \partial$ input embeddings, (T, D), for all tokens but the first or for one.

        Raises `BadInput` for fewer than two tokens, or a position that has no token before it.
        """
        sequence = self._sequence_tensor(tokens)
        if len(sequence) < 2:
            raise BadInput("a gradient needs at least two tokens: the first has no probability.")
        if position is not None and not 1 <= position < len(sequence):
            raise BadInput(f"position {position} has no probability: give one from 1 to {len(sequence) - 1}.")
        return introspection.gradient(self.network, sequence, position)

    @property
    def embeddings(self) -> torch.Tensor:
        """The input embedding of every token, (V, D), in the dtype of the weights."""
        return introspection.input_embeddings(self.network, self.vocabulary.size)

    def token_gradients(
        self, sequences: Sequence[Tokens], length: int, *, beta: float = 1.0
    ) -> introspection.TokenGradients:
        r"""Return log p of the last `length` tokens of sequences of one length at `beta`, and its gradient in them.

        In float32, or float64 for such weights. Raises `BadInput` for sequences of different lengths, or if the first
        of the tokens has none before it.
        """
        # The last token is only predicted, so it may lie beyond the context.
        token_ids = [[*self._validate_tokens(tokens[:-1]), *self._validate_tokens(tokens[-1:])] for tokens in sequences]
        lengths = set(map(len, token_ids))
        if len(lengths) != 1:
            raise BadInput(f"token gradients need sequences of one length, got {len(lengths)} lengths.")
        if not 1 <= length < min(lengths):
            raise BadInput(
                f"`length` must be from 1 to less than the {min(lengths)} tokens of a sequence, got {length}."
            )
        tokens = torch.tensor(token_ids, dtype=torch.long, device=self.device)
        return introspection.token_gradients(self.network, tokens, length, beta)

    def resolve_prompt(self, prompt: Tokens) -> Tokens:
        """Return the prompt, or the start of a document for an empty one.

        Raises `BadInput` for an empty prompt without a start token, an id outside the vocabulary, or a prompt that is
        too long.
        """
        if len(prompt):
            return self._validate_tokens(prompt)
        if not self.vocabulary.start_token_ids:
            raise BadInput(f"{self.name} has no document-start token; give a prompt of at least one token.")
        return self.vocabulary.start_token_ids

    def _validate_tokens(self, tokens: Tokens) -> Tokens:
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise BadInput(f"a sequence must be a list of token ids, got {tokens!r:.60}: encode(text) gives one.")
        ids = validate_token_ids(ids, self.vocabulary.size)
        validate_context_length(len(ids), self.context_length)
        token_ids: list[int] = ids.tolist()
        return token_ids

    def _sequence_tensor(self, tokens: Tokens) -> torch.Tensor:
        token_ids = self._validate_tokens(tokens)
        if not token_ids:
            raise BadInput("the sequence is empty: give at least one token.")
        return torch.tensor(token_ids, dtype=torch.long, device=self.device)


def _context_length(config: Any) -> int | None:
    """Return the longest sequence that the configuration allows; absurdly large values mean no limit."""
    length = getattr(config, "max_position_embeddings", None)
    return int(length) if isinstance(length, int) and 0 < length < _MAX_CONTEXT_LENGTH else None


def _build_vocabulary(
    module: Any, tokenizer: Any, text: ModelTokenizer | TokenIds, metadata: ModelMetadata
) -> Vocabulary:
    start = metadata.start if metadata.start is not None else as_token_ids(getattr(tokenizer, "bos_token_id", None))
    size = int(module.config.get_text_config(decoder=True).vocab_size)
    stop = metadata.stop if metadata.stop is not None else find_end_tokens(module, tokenizer, size)
    return Vocabulary(size, start_token_ids=start, stop_token_ids=stop, special_token_ids=text.special_token_ids)


def _find_closed_tokens(
    tokenizer: Any, vocabulary: Vocabulary, padding: Sequence[int] = ()
) -> slice | torch.Tensor | None:
    """Return the ids that stand for no token and start or end no document: rows that only pad the output matrix.

    They are those that the tokenizer lacks, and `padding`.
    """
    if tokenizer is None:
        return None
    ends = [*vocabulary.start_token_ids, *vocabulary.stop_token_ids]
    ids = [*tokenizer.get_vocab().values(), *ends]
    known = np.zeros(max(vocabulary.size, max(ids) + 1), bool)
    known[ids] = True
    known[list(set(padding) - set(ends))] = False
    closed = np.flatnonzero(~known[: vocabulary.size])
    if not closed.size:
        return None
    is_suffix = closed[0] + closed.size == vocabulary.size
    return slice(int(closed[0]), None) if is_suffix else torch.from_numpy(closed)
