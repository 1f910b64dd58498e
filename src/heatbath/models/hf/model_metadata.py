"""The metadata file beside a model's weights: their source, and the tokens that start and end a document."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import ModelError

METADATA_FILE = "heatbath.json"


@dataclass(frozen=True)
class ModelMetadata:
    """The content of `heatbath.json`. None leaves a value to the tokenizer and the configuration.

    Attributes:
        sha256: hash of the file that the weights were converted from.
        start: ids of the tokens that start a document.
        stop: ids of the tokens that end one.
        prepend: ids put before every encoded text.
        closed: ids of rows that only pad the output matrix, beside those that the tokenizer lacks.
    """

    name: str | None = None
    source: str | None = None
    sha256: str | None = None
    licence: str | None = None
    start: tuple[int, ...] | None = None
    stop: tuple[int, ...] | None = None
    prepend: tuple[int, ...] = ()
    closed: tuple[int, ...] = ()

    def save(self, folder: Path) -> None:
        """Write `heatbath.json` into a folder."""
        (folder / METADATA_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_metadata(folder: Path) -> ModelMetadata:
    """Read the metadata of a folder, empty if it has none. Raises `ModelError` when the file cannot be read."""
    path = folder / METADATA_FILE
    if not path.exists():
        return ModelMetadata()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        arguments: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return ModelMetadata(**arguments)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not valid model metadata ({error}): remove the folder and fetch the model again."
        ) from error
