"""Conversion of GGUF files to safetensors, with a metadata file beside them."""

from __future__ import annotations

from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from heatbath.errors import ModelError
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hub.checksums import find_damage, has_checksums, write_checksums
from heatbath.models.hub.fingerprint import file_hash
from heatbath.models.hub.gguf_tensors import use_all_tensors
from heatbath.models.hub.gguf_tokenizer import GgufVocabulary, TokenType, build_tokenizer, read_vocabulary
from heatbath.models.hub.model_store import build_folder, models_folder
from heatbath.models.hub.pretrained_loader import name_failures, read_module, suppress_library_output


def convert_gguf(gguf: Path, folder: Path, metadata: ModelMetadata) -> None:
    """Write the model in `gguf` into an existing `folder`, with its metadata and checksums.

    Raises `ModelError` for a damaged file, an architecture that `transformers` cannot read, tensors that are missing
    or that it does not use, a tokenizer that is not known, or a full disk.
    """
    failure = f"{gguf} cannot be read ({{reason}}): check the file, or give the original safetensors."
    with suppress_library_output(), redirect_stderr(StringIO()):
        with name_failures(failure):
            vocabulary = read_vocabulary(gguf)
        tokenizer = build_tokenizer(vocabulary)
        module, report = read_module(gguf.parent, gguf_file=gguf.name, dtype=torch.float32, failure=failure)
        use_all_tensors(gguf, module, report)
        plain = _drop_quantization(module)
        if vocabulary.end_token_ids:
            plain.generation_config.eos_token_id = list(vocabulary.end_token_ids)
        try:
            plain.save_pretrained(folder)
        except SafetensorError as error:
            raise ModelError(f"weights cannot be written to {folder} ({error}): free some space.") from error
        tokenizer.save_pretrained(folder)
    replace(metadata, closed=_find_padding(vocabulary)).save(folder)
    write_checksums(folder)


def convert_gguf_cached(gguf: Path) -> Path:
    """Convert a `.gguf` file once and return the folder, kept in the cache under the file's hash.

    A folder that is damaged, or without checksums, is converted again.
    """
    digest = file_hash(gguf)
    target = models_folder() / f"gguf-{digest[:16]}"
    if has_checksums(target) and find_damage(target) is None:
        return target
    metadata = ModelMetadata(name=gguf.stem, source=gguf.name, sha256=digest)
    return build_folder(target, lambda work: convert_gguf(gguf, work, metadata), replace=target.is_dir())


def _find_padding(vocabulary: GgufVocabulary) -> tuple[int, ...]:
    """Return the ids that converters name `[PAD17]` and mark as unused: rows without a token."""
    rows = enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
    return tuple(token for token, (text, kind) in rows if kind == TokenType.UNUSED and text == f"[PAD{token}]")


def _drop_quantization(module: Any) -> Any:
    """Copy a module into one whose configuration has no quantization, which `save_pretrained` would refuse."""
    config = module.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(module.state_dict())
    plain.generation_config = module.generation_config
    return plain
