"""Puts this folder on the path, for what its tests share, and a tiny random transformer."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.pretrained_loader import suppress_library_output

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny() -> TransformersModel:
    """A random float32 transformer of 60 tokens that reads 4,000."""
    config = LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=4000, initializer_range=0.4, eos_token_id=59,
    )  # fmt: skip
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(1)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    metadata = ModelMetadata(start=(0,), stop=(59,))
    return TransformersModel(module, None, name="tiny", compute_fingerprint=str, metadata=metadata)
