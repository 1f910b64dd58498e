"""Embeddings of passages and queries: the packaged all-MiniLM-L6-v2, or a sentence-transformers model by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from heatbath.errors import MissingExtra, ModelError
from heatbath.retrieval.document_chunks import Ints

Floats = npt.NDArray[np.float32]
DEFAULT_EMBEDDING = "all-minilm-l6-v2"
NO_EMBEDDING = "none"


class Embedder(Protocol):
    """Maps texts to unit vectors, so that the cosine of two is their scalar product.

    Attributes:
        name: stands in the index, and gives the same embedder again.
        dimensions: d.
        max_tokens: the longest text that is read whole, without control tokens.
    """

    name: str
    dimensions: int
    max_tokens: int

    def embed_passages(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of n passages, (n, d)."""

    def embed_query(self, text: str) -> Floats:
        """Return the vector of a query, (d,)."""

    def find_tokens(self, texts: Sequence[str]) -> list[Ints]:
        """Return the code points where the tokens of each text begin and end, (tokens, 2) each."""


@cache
def load_embedder(name: str = DEFAULT_EMBEDDING) -> Embedder:
    """Load an embedder: `all-minilm-l6-v2` from its package, any other by sentence-transformers (name or folder).

    Raises:
        MissingExtra: without the extra `retrieval`.
        ModelError: there is no such model here, or it cannot be loaded.
    """
    return _PackagedEmbedder() if name == DEFAULT_EMBEDDING else _SentenceTransformerEmbedder(name)


class _PackagedEmbedder:
    """all-MiniLM-L6-v2 from its package: reads up to 254 word pieces."""

    name = DEFAULT_EMBEDDING

    def __init__(self) -> None:
        from heatbath.energy.potentials.embedding import load_minilm

        self._model = load_minilm()
        self.dimensions = self._model.dimensions
        self.max_tokens = self._model.max_token_ids - 2

    def embed_passages(self, texts: Sequence[str]) -> Floats:
        return np.asarray(self._model(texts), np.float32)

    def embed_query(self, text: str) -> Floats:
        return np.asarray(self._model([text])[0], np.float32)

    def find_tokens(self, texts: Sequence[str]) -> list[Ints]:
        return self._model.find_tokens(texts)


class _SentenceTransformerEmbedder:
    """A model of sentence-transformers, with its own prompts for passages and queries."""

    def __init__(self, name: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtra("embedding with a model by name", "retrieval") from error
        self.name = name
        try:
            self._model = SentenceTransformer(name)
            self._tokenizer = self._model.tokenizer.backend_tokenizer
        except Exception as error:  # the hub, the file system and the weights each have errors of their own
            reason = " ".join(str(error).split())[:160]
            raise ModelError(
                f"the embedding model {name!r} cannot be loaded ({reason}): give a folder or a name that "
                f"sentence-transformers finds, or {DEFAULT_EMBEDDING!r}.",
                param="embedding",
            ) from error
        self.dimensions = int(self._model.get_sentence_embedding_dimension() or 0)
        self.max_tokens = int(self._model.max_seq_length or 512) - 2

    def embed_passages(self, texts: Sequence[str]) -> Floats:
        return self._encode(self._model.encode_document, list(texts))

    def embed_query(self, text: str) -> Floats:
        return np.asarray(self._encode(self._model.encode_query, [text])[0])

    def find_tokens(self, texts: Sequence[str]) -> list[Ints]:
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(each.offsets, np.int64).reshape(-1, 2) for each in encodings]

    def _encode(self, encode: Any, texts: list[str]) -> Floats:
        vectors = encode(texts, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, np.float32)
