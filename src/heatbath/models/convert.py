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
from heatbath.models.card import Card
from heatbath.models.fingerprint import file_hash
from heatbath.models.quiet import quiet
from heatbath.models.storage import build, models_folder


def convert(gguf: Path, folder: Path, card: Card) -> None:
    """Write the model in `gguf` into an existing `folder`, with its card.

    Raises `ModelError` for a damaged file, an architecture that `transformers` cannot read, or a full disk.
    """
    with quiet(), redirect_stderr(StringIO()):
        module, tokenizer = _read(gguf)
        plain = _without_quantization(module)
        try:
            plain.save_pretrained(folder)
        except SafetensorError as error:
            raise ModelError(f"weights cannot be written to {folder} ({error}): free some space.") from error
        tokenizer.save_pretrained(folder)
    card.save(folder)


def converted(gguf: Path) -> Path:
    """The folder of a `.gguf` file's conversion, made once and kept in the cache under the file's hash."""
    digest = file_hash(gguf)
    target = models_folder() / f"gguf-{digest[:16]}"
    if target.is_dir():
        return target
    card = Card(name=gguf.stem, source=gguf.name, sha256=digest)
    return build(target, lambda work: convert(gguf, work, card))


def _read(gguf: Path) -> tuple[Any, Any]:
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


def _without_quantization(module: Any) -> Any:
    """The same weights in a model whose configuration no longer says they were quantised, so that it can be saved."""
    config = module.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(module.state_dict())
    plain.generation_config = module.generation_config
    return plain
