"""Comparisons as JSON: `kind`, `schema` and then the fields of `Comparison`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from heatbath.errors import BadInput
from heatbath.phases.comparison.comparison_data import ComparisonData
from heatbath.phases.report.serialization import build_dataclass, to_builtins

SCHEMA_VERSION = 1
KIND = "heatbath comparison"
FILE_NAME = "comparison.json"

AnyComparison = TypeVar("AnyComparison", bound=ComparisonData)


def dump_comparison(comparison: ComparisonData) -> dict[str, Any]:
    """Convert a comparison to JSON values; NaN becomes null."""
    return {"kind": KIND, "schema": SCHEMA_VERSION, **to_builtins(comparison)}


def format_comparison(comparison: ComparisonData) -> str:
    """Format a comparison as the contents of comparison.json."""
    return json.dumps(dump_comparison(comparison), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def load_comparison(path: str | Path, kind: type[AnyComparison]) -> AnyComparison:
    """Read a comparison of class `kind` from its JSON file, or from the folder that holds it.

    Raises:
        BadInput: the file does not exist, is not JSON, is no comparison, is damaged, or has another schema version.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}: give a comparison.json or the folder of a comparison.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not valid JSON ({error}): compare again.") from error
    if not isinstance(content, dict) or content.pop("kind", None) != KIND:
        raise BadInput(f"{path} is not a comparison: write one with `heatbath compare`.")
    if (schema := content.pop("schema", None)) != SCHEMA_VERSION:
        raise BadInput(
            f"{path} has schema {schema!r}, expected {SCHEMA_VERSION}: read it with the heatbath that wrote it."
        )
    try:
        found: AnyComparison = build_dataclass(kind, content)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} is a damaged comparison ({error}): compare again.") from error
    return found
