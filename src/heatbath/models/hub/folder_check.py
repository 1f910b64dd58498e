"""Checks of a model's folder before and after loading: its files, its architecture, its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heatbath.errors import ModelError

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model", "*.spm", "*.tiktoken")


def validate_files(folder: Path, *, tokenizer: bool) -> None:
    """Raise `ModelError` for a folder without configuration or weights, or without a `tokenizer` if it needs one."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model: there is no config.json in it.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} holds no weights: there is no .safetensors file in it.")
    if not tokenizer:
        return
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise missing_tokenizer_error(folder)
    if (folder / "vocab.json").is_file() and not any((folder / n).is_file() for n in ("tokenizer.json", "merges.txt")):
        raise ModelError(
            f"the tokenizer of {folder} is incomplete: there is a vocab.json but no merges.txt; "
            "add it, or a tokenizer.json."
        )


def validate_architecture(folder: Path) -> None:
    """Raise `ModelError` unless the configuration is that of a decoder that `transformers` has."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, __version__

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
        known = kind in CONFIG_MAPPING
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'config.json'} is not a model configuration ({error!r:.100}).") from error
    if not known:
        way = (
            "its code is in the model's own repository, which heatbath does not run"
            if config.get("auto_map")
            else f"transformers {__version__} does not know it; a newer release may"
        )
        raise ModelError(f"{folder} has the architecture {kind!r}, which cannot be loaded: {way}.")
    is_decoder = CONFIG_MAPPING[kind] in MODEL_FOR_CAUSAL_LM_MAPPING
    if not is_decoder or config.get("is_encoder_decoder", False):
        name = next(iter(config.get("architectures") or ()), kind)
        raise ModelError(
            f"{folder} holds a {name} ({kind}), which is not a decoder-only language model: "
            "give a model that predicts the next token of a text, such as Llama or Qwen."
        )


def validate_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Raise `ModelError` for a tokenizer without a fast version, or without a token other than control tokens."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{folder} has a tokenizer without a fast version: add a tokenizer.json.")
    special = {entry.content for entry in tokenizer.added_tokens_decoder.values() if entry.special}
    if not any(name not in special for name in tokenizer.get_vocab()):
        raise missing_tokenizer_error(folder)


def missing_tokenizer_error(folder: Path) -> ModelError:
    """Return the error for a folder without a tokenizer."""
    return ModelError(
        f"{folder} has no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt beside "
        "config.json; load with tokenizer=False to work with token ids alone."
    )
