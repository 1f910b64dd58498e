"""Loading of a `TransformersModel` from a folder of weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from heatbath.errors import BadInput
from heatbath.models.hf.model_metadata import read_metadata
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.fingerprint import folder_fingerprint
from heatbath.models.hub.folder_check import validate_architecture, validate_files, validate_tokenizer
from heatbath.models.hub.precision import default_dtype
from heatbath.models.hub.pretrained_loader import load_module, load_tokenizer, suppress_library_output

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_folder(
    folder: Path, *, dtype: Any = None, device: Any = None, name: str | None = None, tokenizer: bool = True
) -> TransformersModel:
    """Load the weights, configuration and tokenizer that `save_pretrained` wrote into a folder.

    With `tokenizer` false the model has token ids alone. Raises `BadInput` for an unsupported dtype or device,
    `ModelError` for files that are missing or cannot be read, weights that do not fit the configuration, and a network
    that is not causal.
    """
    torch_device = _resolve_device(device)
    torch_dtype = _resolve_dtype(dtype, torch_device)
    validate_files(folder, tokenizer=tokenizer)
    metadata = read_metadata(folder)
    failure = f"the model in {folder} cannot be read ({{reason}}): check its files, or fetch it again."
    with suppress_library_output():
        validate_architecture(folder)
        words = load_tokenizer(folder, failure=failure, local_files_only=True) if tokenizer else None
        if words is not None:
            validate_tokenizer(folder, words)
        module = load_module(folder, dtype=torch_dtype, failure=failure, local_files_only=True)
        return TransformersModel(
            module.to(torch_device),
            words,
            name=name or metadata.name or folder.name,
            compute_fingerprint=partial(folder_fingerprint, folder),
            metadata=metadata,
        )


def _resolve_device(device: Any) -> torch.device:
    if device is None:
        return torch.device("cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BadInput(f"`device` must be 'cpu', 'cuda' or 'cuda:1', got {device!r}.") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"there is no device {resolved} here: give device='cpu'.")
    if resolved.type not in {"cpu", "cuda"}:
        raise BadInput(f"{resolved.type} devices are not supported: give 'cpu' or 'cuda'.")
    return resolved


def _resolve_dtype(dtype: Any, device: torch.device) -> torch.dtype:
    if dtype is None:
        return default_dtype(device)
    for name, torch_dtype in DTYPES.items():
        if dtype in (name, torch_dtype):
            return torch_dtype
    raise BadInput(f"dtype {dtype!r} is not supported: give 'float32' or 'bfloat16'.")
