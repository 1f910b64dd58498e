"""Short texts scored layer by layer: the numbers of the whole model without `transformers`, where it knows all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from heatbath.engine import measure
from heatbath.errors import BadInput
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hub.load_local import load_folder
from heatbath.models.hub.precision import default_dtype
from heatbath.models.layerwise import layerwise_model
from heatbath.models.layerwise.layerwise_model import LayerwiseModel, find_layerwise_model
from heatbath.testing import check_model

needs_float32 = pytest.mark.skipif(
    default_dtype(torch.device("cpu")) is not torch.float32, reason="models are not float32 by default here"
)
SHAPES: dict[str, dict[str, Any]] = {
    "tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False, "num_key_value_heads": 4},
    "narrow heads": {"head_dim": 6, "num_key_value_heads": 1, "rope_theta": 500.0, "rms_norm_eps": 1e-5},
}


def byte_tokenizer(vocab_size: int = 259) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)}
    vocabulary |= {f"{alphabet[i]}{alphabet[40]}": 256 + i for i in range(vocab_size - 259)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("<|bos|>", "<|eos|>", "<|turn|>")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|eos|>")


@pytest.fixture(scope="module")
def build(saved: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a tiny Llama model with metadata, as a converted one has."""

    def write(**changes: Any) -> Path:
        shape = {"vocab_size": 259, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
        shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96}
        config = LlamaConfig(**{**shape, "initializer_range": 0.4, "bos_token_id": 256, "eos_token_id": 257, **changes})
        folder: Path = saved(tmp_path_factory.mktemp("llama"), config, byte_tokenizer())
        ModelMetadata(name="tiny", start=(256,), stop=(257,)).save(folder)
        return folder

    return write


@pytest.fixture(scope="module")
def folder(build: Callable[..., Path]) -> Path:
    return build()


def find(folder: Path) -> LayerwiseModel:
    found = find_layerwise_model(str(folder), dtype=None, device=None)
    assert found is not None
    return found


TEXTS = ["ab", "The end.", "<|eos|> is text", "ünï 漢字 \x00", "x" * 90]


@needs_float32
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_numbers_are_those_of_the_whole_model(build: Callable[..., Path], shape: dict[str, Any]) -> None:
    folder = build(**shape)
    whole, layerwise = load_folder(folder, dtype="float32"), find(folder)
    assert layerwise.vocabulary == whole.vocabulary and layerwise.context_length == whole.context_length
    assert (layerwise.name, layerwise.fingerprint) == (whole.name, whole.fingerprint)
    for text in TEXTS:
        ours, theirs = measure(layerwise, text, bos=True), measure(whole, text, bos=True)
        assert ours.tokens.tolist() == theirs.tokens.tolist() and ours.token_bytes == theirs.token_bytes
        for name in theirs.record:
            np.testing.assert_allclose(ours.record[name], theirs.record[name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert "whole_model" not in vars(layerwise)


@needs_float32
@settings(max_examples=20)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=6), seed=st.integers(0, 100))
def test_a_batch_gives_what_its_sequences_give_alone(folder: Path, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(0, 259, length).tolist() for length in lengths]
    found: dict[tuple[int, int], Any] = {}
    for chunk in find(folder).score(sequences):
        for i, (row, position) in enumerate(zip(chunk.rows, chunk.positions, strict=True)):
            assert chunk.targets[i] == sequences[row][position] and (row, position) not in found
            found[row, position] = chunk.energies[i]
    assert found.keys() == {(row, i) for row, tokens in enumerate(sequences) for i in range(1, len(tokens))}
    for (row, position), energies in found.items():
        (*_, alone) = find(folder).score([sequences[row][: position + 1]])
        torch.testing.assert_close(energies, alone.energies[-1], rtol=1e-4, atol=1e-4)


@needs_float32
def test_it_keeps_the_contract_of_models(folder: Path) -> None:
    check_model(find(folder), tolerance=1e-3)


@needs_float32
def test_long_input_is_for_the_whole_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layerwise_model, "MAX_TOKENS", 10)
    model = find(folder)
    assert len(measure(model, "12345678")) == 8 and "whole_model" not in vars(model)
    assert len(measure(model, "123")) == 3 and "whole_model" in vars(model)


def test_tokens_that_are_wrong_are_refused(folder: Path) -> None:
    for tokens, words in (([1, 259], "outside the vocabulary"), ([1] * 97, "more than the 96")):
        with pytest.raises(BadInput, match=words):
            list(find(folder).score([tokens]))


def change_json(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        content.update(values)
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return change


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def change_weights(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        for name, value in changes.items():
            key = name.replace("__", ".")
            tensors[key] = value(tensors.get(key))
        save_file(
            {name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors"
        )

    return change


UNSUITABLE: dict[str, Callable[[Path], None]] = {
    "another architecture": change_json("config.json", architectures=["MistralForCausalLM"]),
    "another type": change_json("config.json", model_type="mistral"),
    "another activation": change_json("config.json", hidden_act="gelu"),
    "biases": change_json("config.json", attention_bias=True),
    "an unknown value": change_json("config.json", sliding_window=8),
    "a value that is missing": change_json("config.json", rms_norm_eps=...),
    "scaled positions": change_json(
        "config.json", rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    ),
    "quantised": change_json("config.json", quantization_config={"bits": 4}),
    "a damaged configuration": lambda folder: (folder / "config.json").write_text("{") and None,
    "a configuration that is a list": lambda folder: (folder / "config.json").write_text("[]") and None,
    "another number of layers": change_json("config.json", num_hidden_layers=2),
    "a file cut short": cut_weights,
    "an empty file": lambda folder: (folder / "model.safetensors").write_bytes(b"") and None,
    "half precision": change_weights(model__norm__weight=lambda tensor: tensor.bfloat16()),
    "a missing tensor": change_weights(model__norm__weight=lambda tensor: None),
    "one tensor more": change_weights(model__extra__weight=lambda tensor: torch.zeros(3)),
    "another shape": change_weights(model__norm__weight=lambda tensor: tensor[:-1].contiguous()),
    "a second file": lambda folder: (folder / "other.safetensors").write_bytes(b"") and None,
    "no metadata": lambda folder: (folder / "heatbath.json").unlink(),
    "no start": change_json("heatbath.json", start=None),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "a damaged tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}") and None,
    "another tokenizer class": change_json("tokenizer_config.json", tokenizer_class="LlamaTokenizer"),
    "an unknown tokenizer option": change_json("tokenizer_config.json", add_bos_token=True),
    "a control token named elsewhere": change_json("tokenizer_config.json", eos_token="a"),
    "more tokens than ids": lambda folder: byte_tokenizer(260).save_pretrained(folder) and None,
}


@pytest.mark.parametrize("change", UNSUITABLE.values(), ids=UNSUITABLE)
def test_what_it_does_not_know_it_leaves(build: Callable[..., Path], change: Callable[[Path], None]) -> None:
    folder = build()
    find(folder)
    change(folder)
    assert find_layerwise_model(str(folder), dtype=None, device=None) is None


def test_other_requests_are_for_the_whole_model(folder: Path, tmp_path: Path) -> None:
    for dtype, device in (("bfloat16", None), (None, "cuda"), ("float64", None), (None, "nowhere")):
        assert find_layerwise_model(str(folder), dtype=dtype, device=device) is None
    for name in ("smollm2-135m", "unknown", "owner/name", str(tmp_path), str(folder / "model.safetensors"), ""):
        assert find_layerwise_model(name, dtype=None, device=None) is None


LOADED = (
    "import sys; from heatbath.cli.main import main; code = main(sys.argv[1:]); "
    "print(code, *({'torch', 'transformers'} & sys.modules.keys()), file=sys.stderr)"
)


@needs_float32
@pytest.mark.parametrize(("text", "imported"), [("a", "0"), ("abc", "0 torch")])
def test_the_command_imports_no_more_than_it_needs(folder: Path, text: str, imported: str) -> None:
    arguments = ["measure", "--model", str(folder), "--text", text]
    run = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)
    assert run.stdout == text + "\n" and run.stderr.splitlines()[-1] == imported, run.stderr


@needs_float32
@pytest.mark.weights
def test_the_default_model(smollm2: Any) -> None:
    model = find_layerwise_model("smollm2-135m", dtype=None, device=None)
    assert model is not None and model.vocabulary == smollm2.vocabulary
    text = "The capital of France is Paris.\n<|im_end|> 漢字 12345"
    ours, theirs = measure(model, text), measure(smollm2, text)
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    np.testing.assert_allclose(ours.record["logprob"], theirs.record["logprob"], atol=2e-4)
    assert all(model.token_bytes(token) == smollm2.token_bytes(token) for token in range(0, 49_152, 97))
