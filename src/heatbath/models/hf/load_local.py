"""Weights in a folder -> a `TransformersModel`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from heatbath.errors import BadInput, ModelError
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.fingerprint import folder_fingerprint
from heatbath.models.hub.library_output import suppress_library_output
from heatbath.models.hub.model_card import read_card

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_folder(folder: Path, *, dtype: Any = None, device: Any = None, name: str | None = None) -> TransformersModel:
    """Read weights, configuration and tokenizer that `save_pretrained` wrote.

    Raises `BadInput` for a dtype or device that cannot be used, `ModelError` for files that cannot be read.
    """
    place = _resolve_device(device)
    kind = _resolve_dtype(dtype, place)
    _validate_folder(folder)
    card = read_card(folder)
    with suppress_library_output():
        module, tokenizer = _load_weights(folder, kind)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{folder} has a tokenizer without a fast version: add a tokenizer.json.")
    name = name or card.name or folder.name
    return TransformersModel(
        module.to(place), tokenizer, name=name, compute_fingerprint=partial(folder_fingerprint, folder), card=card
    )


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it fast (CUDA, AMX, AVX512-BF16), else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if not hasattr(torch.cpu, "get_capabilities"):
        return torch.float32
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def _load_weights(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Anything a damaged file makes the readers raise becomes one sentence that names the folder."""
    try:
        module = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the model in {folder} cannot be read ({reason:.200}): remove the folder and fetch it again."
        ) from error
    return module, tokenizer


def _validate_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model: there is no config.json in it.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} holds no weights: there is no .safetensors file in it.")


def _resolve_device(device: Any) -> torch.device:
    if device is None:
        return torch.device("cpu")
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BadInput(f"{device!r} is no device: give 'cpu', 'cuda' or 'cuda:1'.") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"there is no device {place} here: give device='cpu'.")
    if place.type not in {"cpu", "cuda"}:
        raise BadInput(f"{place.type} devices are not supported: give 'cpu' or 'cuda'.")
    return place


def _resolve_dtype(dtype: Any, device: torch.device) -> torch.dtype:
    if dtype is None:
        return default_dtype(device)
    for name, kind in DTYPES.items():
        if dtype in (name, kind):
            return kind
    raise BadInput(f"dtype {dtype!r} is not supported: give 'float32' or 'bfloat16'.")
