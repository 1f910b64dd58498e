"""A base model over HTTP: no chat template, and rows of the output matrix that no token of the tokenizer stands for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from serving import Server, server, started
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.models.hub.load_local import load_folder

ROWS, TOKENS = 320, 258


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a random model with 320 rows, whose tokenizer has the 256 bytes and two control tokens."""
    folder: Path = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=ROWS, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=256, eos_token_id=257,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("<|bos|>", "<|eos|>")])
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|eos|>").save_pretrained(folder)
    model = load_folder(folder, dtype="float32")
    with started(server(LocalEngine(model, config=EngineConfig(warm_up=False)))) as made:
        yield made


def test_no_id_beyond_the_tokenizer_is_drawn(base: Server) -> None:
    """At T = 100 nearly a fifth of the mass would be on the 62 rows without a token."""
    body = {"temperature": 100, "n": 16, "max_tokens": 64, "seed": 1, "ignore_eos": True, "return_token_ids": True}
    choices = base.complete("x", **body, logprobs=5).json()["choices"]
    drawn = [token for choice in choices for token in choice["token_ids"]]
    assert len(drawn) == 1024 and max(drawn) < TOKENS
    named = base.complete("x", max_tokens=4, ignore_eos=True, logprobs=5, return_tokens_as_token_ids=True).json()[
        "choices"
    ][0]
    keys = [int(key.removeprefix("token_id:")) for row in named["logprobs"]["top_logprobs"] for key in row]
    assert max(keys) < TOKENS


def test_decisions_work_without_a_chat_template(base: Server) -> None:
    question = {"type": "choice", "instructions": "Which?", "choices": [{"value": "a"}, {"value": "b"}]}
    answer = base.post("/v1/decisions", {"input": "x", "questions": [question]})
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["answers"]
    assert sum(each["probability"] for each in found["probabilities"]) == pytest.approx(1)


def test_a_conversation_needs_a_template(base: Server) -> None:
    error: dict[str, Any] = base.chat().json()["error"]
    assert error["param"] == "messages" and "no chat template" in error["message"]
