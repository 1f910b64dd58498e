"""The tensors of a GGUF file: missing ones, and those of names that `transformers` does not know and skips."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from transformers import modeling_gguf_pytorch_utils as reader
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from heatbath.errors import ModelError
from heatbath.models.hub.loading_report import LoadingReport

_ROPE_FACTORS = "rope_freqs.weight"
# The factors of Llama 3.1 and later follow from these and the largest of them.
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def use_all_tensors(gguf: Path, module: Any, report: LoadingReport) -> None:
    """Raise `ModelError` naming the tensors that are missing in the file, or in the module that was made of it.

    Factors of the rotary frequencies are written into the configuration of the module, from which the model is built
    again. `report` is that of `transformers`, with its own names.
    """
    file = GGUFReader(gguf)
    architecture = str(file.fields["general.architecture"].contents())
    processor = reader.TENSOR_PROCESSORS.get(architecture, reader.TensorProcessor)(config=module.config.to_dict())
    known: dict[str, str] = reader.get_gguf_hf_weights_map(module, processor)
    sizes = {str(tensor.name): int(tensor.n_elements) for tensor in file.tensors}
    if _ROPE_FACTORS in sizes:
        factors = next(tensor.data for tensor in file.tensors if tensor.name == _ROPE_FACTORS)
        _set_rope_factors(gguf, module.config, torch.tensor(factors).float().flatten())
        del sizes[_ROPE_FACTORS]
    file_names = {name: f"{file_name} = {name}" for file_name, name in known.items()}
    missing = tuple(file_names.get(name, name) for name in report.missing)
    unused = () if sum(sizes.values()) == _count_numbers(module) else tuple(_find_unused(sizes, known, module))
    replace(report, missing=missing, unused=(*report.unused, *unused)).raise_problems(gguf)


def _find_unused(sizes: dict[str, int], known: dict[str, str], module: Any) -> list[str]:
    # Experts are known without the ending; the head of GPT-2 is read apart from the others.
    unused = [name for name in sorted(sizes) if name not in known and name.removesuffix(".weight") not in known]
    return [name for name in unused if name != "output.weight" or module.get_output_embeddings() is None]


def _set_rope_factors(gguf: Path, config: Any, factors: torch.Tensor) -> None:
    """Give the configuration the rotary frequencies that the file has divided by `factors`."""
    if bool((factors == 1).all()):
        return
    plain = dict(config.rope_parameters)
    scaled = deepcopy(config)
    scaled.rope_parameters = {**plain, **_LLAMA3_ROPE, "factor": float(factors.max())}
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](scaled, torch.device("cpu"))
    width = 2 * len(factors)
    expected = plain["rope_theta"] ** (-torch.arange(0, width, 2) / width) / factors
    if frequencies.shape != expected.shape or not torch.allclose(frequencies, expected, rtol=1e-4):
        raise ModelError(
            f"{gguf} scales its rotary frequencies ({_ROPE_FACTORS}) in a way that is not known here: "
            "give the original safetensors."
        )
    config.rope_parameters = scaled.rope_parameters


def _count_numbers(module: Any) -> int:
    """Return the number of parameters and saved buffers; tied ones count once."""
    tensors = {tensor.data_ptr(): tensor.numel() for tensor in module.state_dict().values()}
    return sum(tensors.values())
