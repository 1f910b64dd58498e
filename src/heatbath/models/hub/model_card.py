"""What a folder of weights does not say by itself: where it comes from, which tokens begin and end a document."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import ModelError

CARD_FILE = "heatbath.json"


@dataclass(frozen=True)
class ModelCard:
    """Written beside converted weights as `heatbath.json`. None means: ask the tokenizer and the configuration."""

    name: str | None = None
    source: str | None = None
    sha256: str | None = None
    licence: str | None = None
    start: tuple[int, ...] | None = None
    stop: tuple[int, ...] | None = None
    prepend: tuple[int, ...] = ()

    def save(self, folder: Path) -> None:
        """Write `heatbath.json` into a folder."""
        (folder / CARD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card in a folder, or an empty one. Raises `ModelError` when it cannot be read."""
    path = folder / CARD_FILE
    if not path.exists():
        return ModelCard()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return ModelCard(**given)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not a model card ({error}): remove the folder and fetch the model again."
        ) from error
