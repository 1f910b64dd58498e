"""The tokens that end a sequence: the union of what the files of a model name, and end-of-turn markers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from heatbath.models.hf.end_tokens import describe_end_tokens
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hub.load_local import load_folder

Folders = Callable[[str], Path]
MISSING: Any = object()


@pytest.fixture
def folder(folders: Folders, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a tiny model with these ends in its files; `MISSING` leaves an entry out."""

    def build(*, config: Any, generation: Any, tokenizer: str | None = None, family: str = "llama") -> Path:
        copy = Path(shutil.copytree(folders(family), tmp_path / "model"))
        for name, value in (("config.json", config), ("generation_config.json", generation)):
            content = json.loads((copy / name).read_text())
            content.pop("eos_token_id", None)
            content |= {} if value is MISSING else {"eos_token_id": value}
            (copy / name).write_text(json.dumps(content))
        settings = json.loads((copy / "tokenizer_config.json").read_text())
        settings.pop("eos_token", None)
        settings |= {} if tokenizer is None else {"eos_token": tokenizer}
        (copy / "tokenizer_config.json").write_text(json.dumps(settings))
        return copy

    return build


def _ends(folder: Path) -> set[int]:
    return set(load_folder(folder, dtype="float32").vocabulary.stop_token_ids)


@pytest.mark.parametrize(
    ("config", "generation", "tokenizer", "expected"),
    [
        ([0, 2], MISSING, None, {0, 2}),
        ([0, 2], 0, None, {0, 2}),
        (2, 0, None, {0, 2}),
        (MISSING, [5, 6], None, {5, 6}),
        (MISSING, 5, "<|eos|>", {5, 257}),
        (None, None, "<|eos|>", {257}),
        (MISSING, MISSING, None, set()),
        ([0, 5000], -1, None, {0}),
    ],
)
def test_ends_are_the_union_of_the_files(
    config: Any, generation: Any, tokenizer: str | None, expected: set[int], folder: Callable[..., Path]
) -> None:
    assert _ends(folder(config=config, generation=generation, tokenizer=tokenizer)) == expected


def test_a_default_of_the_class_is_no_entry(folder: Callable[..., Path]) -> None:
    # LlamaConfig has 2 where the file says nothing; 2 is an ordinary token here.
    assert _ends(folder(config=MISSING, generation=7)) == {7}


@pytest.mark.parametrize(
    ("specials", "plain", "expected"),
    [
        (["<|im_start|>", "<|im_end|>"], [], {"<|im_end|>"}),
        (["<start_of_turn>", "<end_of_turn>"], [], {"<end_of_turn>"}),
        (["<|eot_id|>", "<|eom_id|>"], [], {"<|eot_id|>", "<|eom_id|>"}),
        ([], ["<|im_end|>"], set()),
        (["<|start|>", "<|end|>", "<|return|>", "<|call|>"], [], {"<|return|>", "<|call|>"}),
        (["<|end|>"], [], {"<|end|>"}),
        (["<reponame>", "<file_sep>"], [], set()),
        (["</s>", "<|tool_response>"], [], {"<|tool_response>"}),
    ],
)
def test_a_marker_of_the_end_of_a_turn_is_an_end(
    specials: list[str], plain: list[str], expected: set[str], folders: Folders, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    copy = Path(shutil.copytree(folders("llama"), tmp_path / "model"))
    tokenizer = AutoTokenizer.from_pretrained(copy, local_files_only=True)
    # The ids of tokens that the model has rows for.
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in specials], special_tokens=True)
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in plain])
    tokenizer.save_pretrained(copy)
    assert {tokenizer.convert_ids_to_tokens(token) for token in _ends(copy)} - {"<|eos|>"} == expected


def test_metadata_has_the_last_word(folder: Callable[..., Path]) -> None:
    copy = folder(config=[0, 2], generation=5)
    ModelMetadata(stop=(3,)).save(copy)
    assert _ends(copy) == {3}


def test_no_end_is_said_in_one_sentence(folder: Callable[..., Path]) -> None:
    model = load_folder(folder(config=MISSING, generation=MISSING), dtype="float32")
    assert describe_end_tokens(model.vocabulary.stop_token_ids, model.token_bytes).startswith(
        "no token ends a sequence"
    )
    assert (
        describe_end_tokens((256, 257), model.token_bytes) == "a sequence ends with '<|bos|>' (256) or '<|eos|>' (257)"
    )
