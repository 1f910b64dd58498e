"""Tiny random models of several families, saved once as folders: no weights needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen3NextConfig,
)

from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.load_local import load_folder
from heatbath.models.hub.pretrained_loader import suppress_library_output

SIZE, TOKENS = 264, 259
"""Rows of the output matrix, and those with a token of the tokenizer behind them."""
_SHAPE: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 96,
    "initializer_range": 0.4,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**_SHAPE),
    "mistral": lambda: MistralConfig(**_SHAPE, sliding_window=8),
    "gemma3": lambda: Gemma3TextConfig(
        **_SHAPE,
        sliding_window=8,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gemma2": lambda: Gemma2Config(
        **_SHAPE, sliding_window=8, query_pre_attn_scalar=8, final_logit_softcapping=1.5, attn_logit_softcapping=2.0
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=96, bos_token_id=256, eos_token_id=257,
        initializer_range=0.4,
    ),
    "qwen3next": lambda: Qwen3NextConfig(
        **{**_SHAPE, "num_hidden_layers": 2, "initializer_range": 0.2},
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
        num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16, shared_expert_intermediate_size=16,
    ),
}  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, and three control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("<|bos|>", "<|eos|>", "<|turn|>")])
    template = "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|eos|>{% endfor %}<|turn|>assistant"
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|eos|>")
    fast.chat_template = template
    return fast


def save(folder: Path, config: Any, words: Any = None) -> Path:
    """A random model of this configuration and a tokenizer, as `save_pretrained` writes them."""
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        (tokenizer() if words is None else words).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved() -> Callable[[Path, Any], Path]:
    """How a random model of a configuration is saved."""
    return save


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model by family."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save(tmp_path_factory.mktemp(family), CONFIGS[family]())
        return made[family]

    return folder


@pytest.fixture(scope="session")
def tiny(folders: Callable[[str], Path]) -> Callable[[str], TransformersModel]:
    """A tiny float32 model by family."""
    made: dict[str, TransformersModel] = {}

    def model(family: str) -> TransformersModel:
        if family not in made:
            made[family] = load_folder(folders(family), dtype="float32")
        return made[family]

    return model


class Plain:
    """Energies by definition: the untouched `transformers` model, one unpadded sequence, no cache."""

    def __init__(self, folder: Path) -> None:
        with suppress_library_output():
            self.module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def energies(self, tokens: Sequence[int]) -> torch.Tensor:
        """Energies after each position of one sequence, (T, V)."""
        with torch.no_grad():
            logits: torch.Tensor = self.module(torch.tensor([list(tokens)]), use_cache=False).logits[0]
        return torch.where(torch.arange(SIZE) < TOKENS, -logits, torch.inf)


@pytest.fixture(scope="session")
def plain(folders: Callable[[str], Path]) -> Callable[[str], Plain]:
    """The plain counterpart of a tiny model."""
    return cache(lambda family: Plain(folders(family)))


@pytest.fixture(autouse=True)
def _cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tests without the default model never touch the user's cache."""
    if not request.node.get_closest_marker("weights"):
        monkeypatch.setenv("HEATBATH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Tiny matrices are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
