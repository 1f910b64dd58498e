"""Loading of a model by catalog name, hub id, local folder or `.gguf` file."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatbath.errors import BadInput, ModelError
from heatbath.models.hub import catalog
from heatbath.models.hub.checksums import validate_checksums

if TYPE_CHECKING:
    from heatbath.models.hf.transformers_model import TransformersModel

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ALLOW_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
_IGNORE_PATTERNS = ["*/*"]


def load(
    name: str | os.PathLike[str] = catalog.DEFAULT_MODEL,
    *,
    dtype: Any = None,
    device: Any = None,
    tokenizer: bool = True,
) -> TransformersModel:
    """Load a model by catalog name, hub id, local folder or `.gguf` file; a missing catalog model is pulled.

    `dtype` is 'float32' or 'bfloat16'; by default bfloat16 where the processor is fast at it (CUDA, AMX, AVX512-BF16),
    else float32. `device` is 'cpu' (default) or 'cuda'. `tokenizer=False` loads a folder without a tokenizer, for work
    with token ids. Raises `BadInput` for an unknown name, dtype or device; `ModelError` when weights cannot be fetched
    or read, are damaged, do not fit the configuration, or are not those of a causal language model.
    """
    folder, label = resolve_weights(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, in a notebook without ipywidgets
        from heatbath.models.hub.load_local import load_folder

    return load_folder(folder, dtype=dtype, device=device, name=label, tokenizer=tokenizer)


def resolve_weights(name: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the folder with the weights of a model, fetched or converted where needed, and the model's name."""
    text = os.fspath(name)
    if text in catalog.CATALOG:
        return catalog.pull(text), text
    path = Path(text).expanduser()
    if path.is_dir():
        validate_checksums(path)
        return path, None
    if path.is_file():
        return _convert_file(path), path.stem
    if _is_path_like(text):
        raise BadInput(f"there is no model at {text}: give an existing folder or .gguf file.")
    if _HUB_ID.fullmatch(text):
        return _download_snapshot(text), text
    catalog.find_entry(text)
    raise BadInput(f"there is no model {text!r}.")


def _is_path_like(text: str) -> bool:
    return text.startswith((".", "~", os.sep)) or text.endswith(".gguf") or text.count("/") > 1 or "\\" in text


def _convert_file(path: Path) -> Path:
    if path.suffix != ".gguf":
        raise BadInput(f"{path} is neither a folder nor a .gguf file: give one of these.")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file: it does not begin with GGUF.")
    from heatbath.models.hub.gguf_conversion import convert_gguf_cached

    return convert_gguf_cached(path)


def _download_snapshot(name: str) -> Path:
    """Return the snapshot of a hub model; one that is already on this machine needs no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    from heatbath.models.hub.pretrained_loader import suppress_library_output

    try:
        with suppress_library_output():
            return Path(
                snapshot_download(
                    name, allow_patterns=_ALLOW_PATTERNS, ignore_patterns=_IGNORE_PATTERNS, etag_timeout=5
                )
            )
    except RepositoryNotFoundError as error:
        raise BadInput(f"the hub has no model {name}, or it asks for a login: check the name.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{name} cannot be fetched from the hub ({type(error).__name__}): check the network or give a local folder."
        ) from error
