"""`load`: a catalog name, a hub id, a local folder or a `.gguf` file -> a model."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatbath.errors import BadInput, ModelError
from heatbath.models import catalog

if TYPE_CHECKING:
    from heatbath.models.transformers import TransformersModel

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
_UNWANTED = ["*/*"]


def load(name: str | os.PathLike[str] = catalog.DEFAULT, *, dtype: Any = None, device: Any = None) -> TransformersModel:
    """The model of that name, ready to use; a catalog model is pulled when it is missing.

    `dtype` is 'float32' or 'bfloat16'; by default bfloat16 where the processor is fast at it (CUDA, AMX, AVX512-BF16),
    else float32. `device` is 'cpu' (default) or 'cuda'. Raises `BadInput` for a name, dtype or device that means
    nothing, `ModelError` when weights cannot be fetched or read.
    """
    place, label = find(name)
    from heatbath.models.folder import load_folder

    return load_folder(place, dtype=dtype, device=device, name=label)


def find(name: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """The folder with the weights of a model, fetched or converted where needed, and what to call it."""
    text = os.fspath(name)
    if text in catalog.CATALOG:
        return catalog.pull(text), text
    path = Path(text).expanduser()
    if path.is_dir():
        return path, None
    if path.is_file():
        return _from_file(path), path.stem
    if _like_a_path(text):
        raise BadInput(f"there is no model at {text}: give an existing folder or .gguf file.")
    if _HUB_ID.fullmatch(text):
        return _from_hub(text), text
    catalog.entry(text)
    raise BadInput(f"no model is called {text!r}.")


def _like_a_path(text: str) -> bool:
    return text.startswith((".", "~", os.sep)) or text.endswith(".gguf") or text.count("/") > 1 or "\\" in text


def _from_file(path: Path) -> Path:
    if path.suffix != ".gguf":
        raise BadInput(f"{path} is neither a folder nor a .gguf file: give one of these.")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file: it does not begin with GGUF.")
    from heatbath.models.convert import converted

    return converted(path)


def _from_hub(name: str) -> Path:
    """The snapshot of a hub model; one that is already on this machine needs no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    from heatbath.models.quiet import quiet

    try:
        with quiet():
            return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, etag_timeout=5))
    except RepositoryNotFoundError as error:
        raise BadInput(f"the hub has no model {name}, or it asks for a login: check the name.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{name} cannot be fetched from the hub ({type(error).__name__}): check the network or give a local folder."
        ) from error
