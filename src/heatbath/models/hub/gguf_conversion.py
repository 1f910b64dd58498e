"""A `.gguf` file -> a folder that `transformers` loads as it is: float32 safetensors, configuration, tokenizer."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from heatbath.errors import ModelError
from heatbath.models.hub.fingerprint import file_hash
from heatbath.models.hub.library_output import suppress_library_output
from heatbath.models.hub.model_card import ModelCard
from heatbath.models.hub.model_store import build_folder, models_folder


def convert_gguf(gguf: Path, folder: Path, card: ModelCard) -> None:
    """Write the model in `gguf` into an existing `folder`, with its card.

    Raises `ModelError` for a damaged file, an architecture that `transformers` cannot read, or a full disk.
    """
    with suppress_library_output(), redirect_stderr(StringIO()):
        module, tokenizer = _load_gguf(gguf)
        plain = _drop_quantization(module)
        try:
            plain.save_pretrained(folder)
        except SafetensorError as error:
            raise ModelError(f"weights cannot be written to {folder} ({error}): free some space.") from error
        tokenizer.save_pretrained(folder)
    card.save(folder)


def convert_gguf_cached(gguf: Path) -> Path:
    """The folder of a `.gguf` file's conversion, made once and kept in the cache under the file's hash."""
    digest = file_hash(gguf)
    target = models_folder() / f"gguf-{digest[:16]}"
    if target.is_dir():
        return target
    card = ModelCard(name=gguf.stem, source=gguf.name, sha256=digest)
    return build_folder(target, lambda work: convert_gguf(gguf, work, card))


def _load_gguf(gguf: Path) -> tuple[Any, Any]:
    """Whatever a damaged or foreign file makes the reader raise becomes one sentence that names it."""
    try:
        module = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{gguf} cannot be read ({reason:.200}): check the file, or give the original safetensors."
        ) from error
    return module, tokenizer


def _drop_quantization(module: Any) -> Any:
    """The same weights in a model whose configuration no longer says they were quantised, so that it can be saved."""
    config = module.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(module.state_dict())
    plain.generation_config = module.generation_config
    return plain
