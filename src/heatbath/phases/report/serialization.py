"""Phase maps as JSON: frozen dataclasses become objects, arrays and tuples become lists, NaN becomes null.

The types of the fields restore everything, so a map that is read equals the map that was written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from heatbath.errors import BadInput
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.record import atomic_write

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 lacks fields that have a default: prompts and marks of text samples, accuracy intervals, wrong answers,
bands and intervals of points. In version 2 an edge whose estimators disagree has an interval and no temperature."""
KIND = "heatbath phase map"
FILE_NAME = "phases.json"

AnyMap = TypeVar("AnyMap", bound=PhaseMapData)


def dump_phase_map(map_: PhaseMapData) -> dict[str, Any]:
    """Convert a map to JSON values: `kind`, `schema` and then the fields of `PhaseMapData`."""
    return {"kind": KIND, "schema": SCHEMA_VERSION, **to_builtins(map_)}


def save_phase_map(map_: PhaseMapData, path: Path) -> None:
    """Write a map to a JSON file; an error leaves the previous file."""
    text = json.dumps(dump_phase_map(map_), ensure_ascii=False, allow_nan=False, indent=1)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load_phase_map(path: str | Path, kind: type[AnyMap]) -> AnyMap:
    """Read a map of class `kind` from a JSON file, or from the folder of a sweep.

    Raises:
        BadInput: the file does not exist, is not JSON, is not a phase map, or has another schema version.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    content = _read_json(path)
    if not isinstance(content, dict) or content.pop("kind", None) != KIND:
        raise BadInput(f"{path} is not a phase map: write one with `heatbath sweep`.")
    if (schema := content.pop("schema", None)) not in READABLE_VERSIONS:
        raise BadInput(
            f"{path} has schema {schema!r}, expected {SCHEMA_VERSION}: read it with the heatbath that wrote it."
        )
    try:
        map_: AnyMap = build_dataclass(kind, content)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} is a damaged phase map ({error}): write it again with `heatbath sweep`.") from error
    return map_


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}: give a phases.json or the folder of a sweep.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): sweep again.") from error
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} is not valid JSON ({error.msg} in line {error.lineno}): sweep again.") from error


def to_builtins(value: Any) -> Any:
    """Convert a value to JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_builtins(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_builtins(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_builtins(value.tolist())
    if isinstance(value, list | tuple):
        return [to_builtins(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def build_dataclass(kind: type[Any], content: Any) -> Any:
    """Build a dataclass from its JSON object, field by field according to the type hints; defaults may be left out."""
    hints = get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    defaults = {field.name: (field.default, field.default_factory) for field in fields(kind)}
    optional = {name for name, default in defaults.items() if default != (MISSING, MISSING)}
    if not isinstance(content, dict):
        raise TypeError(f"{kind.__name__} is {type(content).__name__}, not an object")
    for name in sorted((names - optional - content.keys()) | (content.keys() - names)):
        raise KeyError(f"{kind.__name__} {'lacks' if name in names else 'has an unknown'} {name}")
    return kind(**{name: _convert_value(hints[name], value) for name, value in content.items()})


def _convert_value(hint: Any, value: Any) -> Any:
    """Convert a JSON value to the type of a hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _convert_value(next(a for a in arguments if a is not NoneType), value)
    if is_dataclass(hint):
        return build_dataclass(hint, value)  # type: ignore[arg-type]
    if origin is np.ndarray:
        return np.array(value, get_args(arguments[1])[0])
    if origin is tuple:
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_convert_value(one, entry) for one, entry in zip(inner, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {_convert_value(arguments[0], key): _convert_value(arguments[1], entry) for key, entry in value.items()}
    if origin is not None and issubclass(origin, Sequence):
        return [_convert_value(arguments[0], entry) for entry in value]
    return _convert_scalar(hint, value)


def _convert_scalar(hint: Any, value: Any) -> Any:
    if hint is float:
        return math.nan if value is None else float(value)
    if hint is int:
        return int(value)
    if hint in (str, bool) and not isinstance(value, hint):
        raise TypeError(f"{value!r} is not of type {hint.__name__}")
    return value
