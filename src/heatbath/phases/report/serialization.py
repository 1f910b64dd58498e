"""A phase map as JSON and back: plain names, nothing lost but the difference between tuples and lists.

Frozen dataclasses become objects, arrays become lists, NaN becomes null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from heatbath.errors import BadInput
from heatbath.phases.phase_map import SCHEMA_VERSION, PhaseMap
from heatbath.record import atomic_write

KIND = "heatbath phase map"
FILE_NAME = "phases.json"


def dump_phase_map(map_: PhaseMap) -> dict[str, Any]:
    """The map as JSON values: `kind`, `schema` and then the fields of `PhaseMap`."""
    return {"kind": KIND, "schema": SCHEMA_VERSION, **_to_builtins(map_)}


def save_phase_map(map_: PhaseMap, path: Path) -> None:
    """Write the map to a JSON file, whole or not at all."""
    text = json.dumps(dump_phase_map(map_), ensure_ascii=False, allow_nan=False, indent=1)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load_phase_map(path: str | Path) -> PhaseMap:
    """Read a map from a JSON file, or from the folder of a sweep.

    Raises:
        BadInput: there is no such file, it is no JSON, no phase map, or one of another schema.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    content = _read_json(path)
    if not isinstance(content, dict) or content.pop("kind", None) != KIND:
        raise BadInput(f"{path} holds no phase map: write one with `heatbath sweep`.")
    if (schema := content.pop("schema", None)) != SCHEMA_VERSION:
        raise BadInput(
            f"{path} has schema {schema!r}, this heatbath reads {SCHEMA_VERSION}: use the heatbath that wrote it."
        )
    try:
        map_: PhaseMap = _build_dataclass(PhaseMap, content)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} is a damaged phase map ({error}): make it again with `heatbath sweep`.") from error
    return map_


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {path}: give a phases.json or the folder of a sweep.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no UTF-8 ({error.reason} at byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} is no JSON ({error.msg} in line {error.lineno}): mend it or sweep again.") from error


def _to_builtins(value: Any) -> Any:
    """A value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_builtins(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_builtins(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _to_builtins(value.tolist())
    if isinstance(value, list | tuple):
        return [_to_builtins(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _build_dataclass(kind: type[Any], content: Any) -> Any:
    """A dataclass from its JSON object, field by field after the type hints."""
    hints = get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    if not isinstance(content, dict):
        raise TypeError(f"{kind.__name__} is {type(content).__name__}, not an object")
    for name in sorted(names ^ content.keys()):
        raise KeyError(f"{kind.__name__} {'lacks' if name in names else 'has an unknown'} {name}")
    return kind(**{name: _convert_value(hints[name], content[name]) for name in names})


def _convert_value(hint: Any, value: Any) -> Any:
    """A JSON value as the type that a hint names."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _convert_value(next(a for a in arguments if a is not NoneType), value)
    if is_dataclass(hint):
        return _build_dataclass(hint, value)  # type: ignore[arg-type]
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
        raise TypeError(f"{value!r} is no {hint.__name__}")
    return value
