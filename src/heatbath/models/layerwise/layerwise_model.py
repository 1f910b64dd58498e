"""A Llama model on disk that scores short texts at once; anything else is left to the whole model.

Importing `transformers` and building a model takes seconds, and much memory, before the first token is scored: most
of the time of a short text. Here the weights of one layer at a time are read and used, with the operations of
`transformers`: the numbers are the same, but for the rounding of a batch of another shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.models.base import Model, ScoreChunk, Session, Tokens, Vocabulary
from heatbath.models.hf.model_metadata import METADATA_FILE, ModelMetadata, read_metadata
from heatbath.models.hf.tokenizer import ModelTokenizer
from heatbath.models.hub import catalog
from heatbath.models.hub.fingerprint import folder_fingerprint
from heatbath.models.hub.load import load
from heatbath.models.layerwise.llama_shape import LlamaShape
from heatbath.models.layerwise.tokenizer_file import TokenizerFile, open_tokenizer
from heatbath.models.layerwise.weights_file import WeightsFile, open_weights
from heatbath.models.validation import validate_context_length, validate_token_ids

MAX_TOKENS = 2048
"""Tokens after which the whole model is loaded: it reads its weights once."""
MAX_CHUNK_POSITIONS = 256
_PLAIN_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "hidden_act": "silu",
    "mlp_bias": False,
    "model_type": "llama",
    "pretraining_tp": 1,
}
_OTHER_KEYS = {
    "_model_name_or_path",
    "attention_dropout",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "head_dim",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "transformers_version",
    "unk_token_id",
    "use_cache",
    "vocab_size",
}
_REQUIRED_KEYS = {
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "vocab_size",
}
LayerwiseParts = tuple[TokenizerFile, WeightsFile, ModelMetadata]
LoadModel = Callable[[], Model]


def find_layerwise_model(name: str, *, dtype: str | None, device: str | None) -> LayerwiseModel | None:
    """Return a model that scores short texts layer by layer, or None if the model has to be loaded as a whole.

    For float32 on the CPU, and a pulled or local folder in which every value is known: any other configuration,
    tensor or tokenizer is for `transformers`, which also says what is wrong with a damaged one.
    """
    folder = _find_folder(name)
    if folder is None or dtype is not None or device not in (None, "cpu"):
        return None
    config = _read_config(folder)
    if config is None:
        return None
    metadata, weights = read_metadata(folder), open_weights(folder / "model.safetensors")
    shape = build_shape(config)
    if weights is None or weights.shapes != shape.tensor_shapes() or metadata.start is None or metadata.stop is None:
        return None
    tokenizer = open_tokenizer(folder, shape.vocab)
    if tokenizer is None or not _is_intact(folder, name):
        return None
    return LayerwiseModel(folder, config, (tokenizer, weights, metadata), partial(load, name))


def computes_in_float32() -> bool:
    """Return True if models on the CPU of this machine are float32 by default."""
    import torch

    from heatbath.models.hub.precision import default_dtype

    return default_dtype(torch.device("cpu")) is torch.float32


def build_shape(config: dict[str, Any]) -> LlamaShape:
    """Return the sizes and constants in a configuration that `_read_config` accepts."""
    heads = int(config["num_attention_heads"])
    return LlamaShape(
        layers=int(config["num_hidden_layers"]),
        hidden=int(config["hidden_size"]),
        inner=int(config["intermediate_size"]),
        heads=heads,
        key_heads=int(config["num_key_value_heads"]),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        vocab=int(config["vocab_size"]),
        eps=float(config["rms_norm_eps"]),
        rope_theta=float(config["rope_parameters"]["rope_theta"]),
        tied=bool(config["tie_word_embeddings"]),
    )


def _find_folder(name: str) -> Path | None:
    if name in catalog.CATALOG:
        return catalog.find_folder(name)
    path = Path(name).expanduser()
    return path if (path / METADATA_FILE).is_file() else None


def _is_intact(folder: Path, name: str) -> bool:
    """Return True for files that are as they were written; `load` says what is wrong with others, or mends them."""
    from heatbath.models.hub.checksums import find_damage, has_checksums

    return (has_checksums(folder) or name not in catalog.CATALOG) and find_damage(folder) is None


def _read_config(folder: Path) -> dict[str, Any] | None:
    """Return the configuration, or None unless it is one that `LlamaShape` describes completely."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        plain = all(config.get(key, value) == value for key, value in _PLAIN_CONFIG.items())
        is_whole = _REQUIRED_KEYS <= config.keys() <= _PLAIN_CONFIG.keys() | _OTHER_KEYS
        rope = config.get("rope_parameters") or {}
        known_rope = rope.keys() == {"rope_theta", "rope_type"} and rope["rope_type"] == "default"
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    one_file = [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    return config if plain and is_whole and known_rope and one_file else None


class LayerwiseModel(Model):
    """A model that scores up to `MAX_TOKENS` tokens layer by layer, and is the model of `load` from then on."""

    def __init__(self, folder: Path, config: dict[str, Any], parts: LayerwiseParts, load: LoadModel) -> None:
        self._folder, self._config, self._load, self._num_scored = folder, config, load, 0
        tokenizer, self._weights, metadata = parts
        self.name = metadata.name or folder.name
        self.tokenizer = ModelTokenizer(tokenizer, metadata.prepend)
        self.context_length = int(config["max_position_embeddings"])
        self.vocabulary = Vocabulary(
            int(config["vocab_size"]),
            start_token_ids=metadata.start or (),
            stop_token_ids=metadata.stop or (),
            special_token_ids=self.tokenizer.special_token_ids,
        )

    @cached_property
    def fingerprint(self) -> str:
        return folder_fingerprint(self._folder)

    @cached_property
    def whole_model(self) -> Model:
        """The model with all its weights in memory."""
        return self._load()

    def open(self, prompts: Sequence[Tokens]) -> Session:
        return self.whole_model.open(prompts)

    def score(self, sequences: Sequence[Tokens]) -> Iterator[ScoreChunk]:
        """Yield the energies of every token that has one before it; see `Model.score`."""
        token_ids = [self._validate_tokens(tokens) for tokens in sequences]
        scored = [(row, tokens) for row, tokens in enumerate(token_ids) if len(tokens) > 1]
        if not scored:
            return
        self._num_scored += sum(len(tokens) for _, tokens in scored)
        if self._num_scored > MAX_TOKENS or not computes_in_float32():
            yield from self.whole_model.score(sequences)
        else:
            yield from self._score_layerwise(scored)

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return self.tokenizer.encode(text, document_start=document_start)

    def token_bytes(self, token: int) -> bytes:
        return self.tokenizer.token_bytes(token)

    def _score_layerwise(self, sequences: list[tuple[int, list[int]]]) -> Iterator[ScoreChunk]:
        import torch

        from heatbath.models.layerwise.llama_forward import hidden_states, output_matrix

        shape = build_shape(self._config)

        def read_tensor(name: str) -> torch.Tensor:
            return torch.from_numpy(self._weights.read_tensor(name))

        with torch.inference_mode():
            states = hidden_states(shape, read_tensor, [tokens[:-1] for _, tokens in sequences])
            matrix = output_matrix(shape, read_tensor)
        for (row, tokens), hidden in zip(sequences, states, strict=True):
            for first in range(0, len(hidden), MAX_CHUNK_POSITIONS):
                part = range(first, min(first + MAX_CHUNK_POSITIONS, len(hidden)))
                with torch.inference_mode():
                    energies = torch.nn.functional.linear(hidden[part.start : part.stop].neg(), matrix)
                positions = [position + 1 for position in part]
                yield ScoreChunk([row] * len(part), positions, [tokens[place] for place in positions], energies)

    def _validate_tokens(self, tokens: Tokens) -> list[int]:
        ids = validate_token_ids(np.asarray(tokens), self.vocabulary.size)
        validate_context_length(len(ids), self.context_length)
        token_ids: list[int] = ids.tolist()
        return token_ids
