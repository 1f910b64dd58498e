"""The check at load: the model in memory is the one in the file, causal, with its tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    MixtralConfig,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import heatbath as hb
from heatbath.errors import BadInput, ModelError
from heatbath.models.hf import network_check
from heatbath.models.hf.network_check import energy_difference
from heatbath.models.hub.loading_report import list_names
from heatbath.models.hub.pretrained_loader import suppress_library_output

Folders = Callable[[str], Path]
BERT_SHAPE = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
BART_SHAPE: dict[str, Any] = {
    "vocab_size": 264, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip


@pytest.fixture
def copy(folders: Folders, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders("llama"), tmp_path / "model"))


def _rewrite(folder: Path, drop: tuple[str, ...] = (), add: dict[str, torch.Tensor] | None = None) -> None:
    weights = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if name not in drop}
    save_file(weights | (add or {}), folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"]
)
def test_a_missing_tensor_is_named(name: str, copy: Path) -> None:
    _rewrite(copy, drop=(name,))
    with pytest.raises(ModelError, match=rf"lacks 1 of the model's 30 tensors \({name}\): fetch"):
        hb.load(copy)


def test_a_head_that_is_tied_is_not_missing(saved: Callable[..., Path], tmp_path: Path) -> None:
    config = MixtralConfig(
        vocab_size=264, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2, tie_word_embeddings=True,
    )  # fmt: skip
    assert hb.load(saved(tmp_path, config), dtype="float32").network_check.cache_use == "batch"


def test_an_untied_head_in_the_file_is_used_whatever_the_configuration_says(copy: Path) -> None:
    expected = hb.load(copy, dtype="float32").open([[5, 6]]).energies()
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert torch.equal(hb.load(copy, dtype="float32").open([[5, 6]]).energies(), expected)


def test_unused_tensors_are_named(copy: Path) -> None:
    _rewrite(copy, add={f"model.layers.{layer}.mlp.up_proj.weight": torch.zeros(48, 32) for layer in range(3, 10)})
    with pytest.raises(ModelError, match=r"LlamaForCausalLM does not use \(model\.layers\.3\..*and 2 more\)"):
        hb.load(copy)


def test_a_configuration_with_fewer_layers_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(ModelError, match=r"does not use \(model\.layers\.2\."):
        hb.load(copy)


def test_a_tensor_of_another_shape_is_named(copy: Path) -> None:
    _rewrite(copy, add={"model.layers.0.mlp.up_proj.weight": torch.zeros(47, 32)})
    with pytest.raises(ModelError, match=r"model\.layers\.0\.mlp\.up_proj\.weight \[47, 32\], expected \[48, 32\]"):
        hb.load(copy)


def test_buffers_that_older_releases_saved_are_accepted(copy: Path) -> None:
    _rewrite(copy, add={"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)})
    assert hb.load(copy).name == "model"


def test_weights_that_are_nan_are_refused(copy: Path) -> None:
    _rewrite(copy, add={"model.norm.weight": torch.full((32,), torch.nan)})
    with pytest.raises(ModelError, match=r"not finite: fetch its weights again"):
        hb.load(copy, dtype="float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_bidirectional_model_is_refused(kind: str, dtype: str, tmp_path: Path, copy: Path) -> None:
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(0)
        config: Any = (BertConfig if kind == "bert" else RobertaConfig)(**BERT_SHAPE)
        (BertForMaskedLM if kind == "bert" else RobertaForCausalLM)(config).save_pretrained(tmp_path / kind)
    shutil.copy(copy / "tokenizer.json", tmp_path / kind)
    with pytest.raises(
        ModelError, match=rf"{kind} \(\w+LM\w*\) is not a causal language model: other tokens at the end"
    ):
        hb.load(tmp_path / kind, dtype=dtype)


def test_a_bidirectional_architecture_trained_as_a_decoder_is_accepted(tmp_path: Path, copy: Path) -> None:
    with suppress_library_output():
        RobertaForCausalLM(RobertaConfig(**BERT_SHAPE, is_decoder=True)).save_pretrained(tmp_path / "decoder")
    shutil.copy(copy / "tokenizer.json", tmp_path / "decoder")
    assert hb.load(tmp_path / "decoder", dtype="float32").network_check.cache_use == "length"


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (lambda: T5ForConditionalGeneration(T5Config(vocab_size=264, d_model=16, d_kv=4, d_ff=16, num_layers=1)), "t5"),
        (lambda: BartForConditionalGeneration(BartConfig(**BART_SHAPE)), "bart"),
    ],
)
def test_an_encoder_decoder_is_refused(module: Callable[[], Any], kind: str, tmp_path: Path, copy: Path) -> None:
    with suppress_library_output():
        module().save_pretrained(tmp_path / kind)
    shutil.copy(copy / "tokenizer.json", tmp_path / kind)
    says = (
        rf"ForConditionalGeneration \({kind}\), which is not a decoder-only language model: give a model that predicts"
    )
    with pytest.raises(ModelError, match=says) as caught:
        hb.load(tmp_path / kind)
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "foo"}, r"architecture 'foo', which cannot be loaded: transformers [\d.]+ does not know it"),
        ({"model_type": "foo", "auto_map": {"AutoModel": "x"}}, "its code is in the model's own repository"),
        ({}, "not a model configuration"),
        ([], "not a model configuration"),
    ],
)
def test_an_architecture_that_is_not_known(config: Any, says: str, copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=says):
        hb.load(copy)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "qwen3next"])
def test_a_folder_without_a_tokenizer_is_refused(family: str, folders: Folders, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders(family), tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    says = "has no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt"
    with pytest.raises(ModelError, match=says):
        hb.load(folder)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=says):
        hb.load(folder)


def test_a_tokenizer_of_control_tokens_alone_is_none(copy: Path) -> None:
    words = json.loads((copy / "tokenizer.json").read_text())
    words["model"]["vocab"] = {}
    (copy / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ModelError, match="has no tokenizer"):
        hb.load(copy)


def test_a_vocabulary_without_its_merges_is_incomplete(copy: Path) -> None:
    (copy / "tokenizer.json").rename(copy / "vocab.json")
    with pytest.raises(ModelError, match=r"there is a vocab\.json but no merges\.txt"):
        hb.load(copy)


def test_without_a_tokenizer_by_choice_no_text_is_empty(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    model = hb.load(copy, dtype="float32", tokenizer=False)
    assert model.decode([7, 263]) == "<7><263>" and model.encode("<7><263>") == [7, 263]
    assert hb.generate(model, [[1, 2]], max_tokens=2, seed=0).texts[0].count("<") == 2
    assert model.network.closed_tokens is None
    for attempt in (lambda: model.encode("a"), lambda: model.encode_chat([{"role": "user", "content": "a"}])):
        with pytest.raises(BadInput, match="loaded with tokenizer=False: give token ids"):
            attempt()


def test_differences_do_not_depend_on_the_gauge_and_leave_out_closed_tokens() -> None:
    energies = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    energies[:, 45:] = torch.inf
    same = energy_difference(energies + torch.tensor([[1.0], [-2.0], [0.0]]), energies)
    assert same.nats < 1e-5 and same.relative < 1e-6
    moved = energies.clone()
    moved[1, 3] += 1.0
    assert energy_difference(moved, energies).nats == pytest.approx(1.0, abs=0.1)
    moved[1, 47] = 0.0
    assert energy_difference(moved, energies).relative == torch.inf


@pytest.mark.parametrize("context", [2, 3, 4])
def test_short_contexts_are_checked_as_far_as_they_go(context: int, tiny: Callable[[str], Any]) -> None:
    network, found = network_check.check_network(tiny("llama").network, name="x", context_length=context)
    assert (found.step is None) == (context < 3)
    assert network.cache_use == ("none" if context < 3 else "batch")


def test_long_lists_of_names_are_cut() -> None:
    assert list_names(["a", "b"]) == "a, b"
    assert list_names("abcdefgh") == "a, b, c, d, e and 3 more"


@pytest.mark.weights
def test_the_check_of_the_default_model_takes_less_than_a_second(smollm2: Any) -> None:
    import time

    took = []
    for _ in range(3):
        start = time.process_time()
        network_check.check_network(smollm2.network, name="x", context_length=64)
        took.append(time.process_time() - start)
    assert min(took) < 2.0  # of processor time, on two cores
    assert smollm2.network_check.step is not None and smollm2.network_check.step.nats < 1e-3
