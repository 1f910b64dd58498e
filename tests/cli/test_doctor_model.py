"""`heatbath doctor MODEL`: one line for each check, with measured numbers, and exit code 1 for a failed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import heatbath as hb
from heatbath.cli.main import main
from heatbath.errors import ModelError
from heatbath.models.hf.tokenizer import ModelTokenizer
from heatbath.models.hub.pretrained_loader import suppress_library_output

CHECKS = ["loading", "causality", "cache", "tokenizer", "chat template", "measure", "generate", "serve", "fingerprint"]
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}<s>assistant\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with two rows of its output matrix without a token."""
    folder = tmp_path_factory.mktemp("doctor")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    config = LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=256, eos_token_id=257, initializer_range=0.3,
    )  # fmt: skip
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        fast = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
        fast.chat_template = TEMPLATE
        fast.save_pretrained(folder)
    return folder


def _report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_each_check_has_its_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _report(capsys, str(folder), "--dtype", "float32")
    found = {check["name"]: check for check in report["checks"]}
    assert (code, report["passed"], list(found)) == (0, True, CHECKS)
    assert found["loading"]["values"]["dtype"] == "float32" and found["loading"]["values"]["tensors"] == 21
    assert found["causality"]["values"]["change_nats"] == 0
    assert found["cache"]["values"]["use"] == "batch"
    assert found["tokenizer"]["values"] == {"rows": 260, "closed": 2, "start": [256], "stop": [257]}
    assert found["tokenizer"]["text"].endswith("a sequence ends with '</s>' (257)")
    assert found["chat template"]["values"] == {"conversations": 4, "different": 0}
    for name in ("measure", "generate", "serve"):
        assert 0 <= found[name]["values"]["error_nats"] < 1e-4
    assert found["fingerprint"]["text"].startswith("sha256:")


def test_bfloat16_is_compared_with_float32(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _report(capsys, str(folder), "--dtype", "bfloat16")
    values = {check["name"]: check["values"] for check in report["checks"]}
    assert code == 0
    assert values["loading"]["dtype"] == "bfloat16" and 1e-4 < values["measure"]["error_nats"] < 1


def test_people_get_one_line_a_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["ok"] * len(CHECKS)


def test_a_model_that_cannot_be_loaded_fails_one_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _report(capsys, str(tmp_path))
    assert (code, report["passed"], len(report["checks"])) == (1, False, 1)
    assert "holds no model" in report["checks"][0]["text"]


def test_other_ids_of_the_template_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = ModelTokenizer.encode_chat
    monkeypatch.setattr(ModelTokenizer, "encode_chat", lambda self, messages: [*encode(self, messages), 5])
    code, report = _report(capsys, str(folder))
    (check,) = (check for check in report["checks"] if not check["passed"])
    assert (code, check["name"], check["values"]["different"]) == (1, "chat template", 4)
    with pytest.raises(ModelError, match=r"gives other ids than transformers does \('Hello world': .*\): give prompts"):
        hb.load(folder).encode_chat([{"role": "user", "content": "hi"}])


def test_energies_that_differ_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heatbath.models.hf.network import Network

    head = Network.head_energies
    monkeypatch.setattr(Network, "head_energies", lambda self, hidden, **options: 1.01 * head(self, hidden, **options))
    code, report = _report(capsys, str(folder))
    assert code == 1
    assert {check["name"] for check in report["checks"] if not check["passed"]} >= {"measure"}


def test_an_unknown_name_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "nosuch"]) == 2
    assert "there is no model 'nosuch'" in capsys.readouterr().err


@pytest.mark.weights
def test_the_default_model_passes(capsys: pytest.CaptureFixture[str], smollm2_folder: Path) -> None:
    code, report = _report(capsys, str(smollm2_folder), "--dtype", "float32")
    found = {check["name"]: check for check in report["checks"]}
    assert (code, report["passed"], list(found)) == (0, True, CHECKS)
    assert found["measure"]["values"]["error_nats"] < 1e-3
