"""Results as JSON files: `kind`, `schema` and then the fields of the dataclass.

Frozen dataclasses become objects, arrays and tuples become lists, NaN becomes null. The types of the fields restore
everything, so a result that is read equals the one that was written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from heatbath.errors import BadInput
from heatbath.record.output_files import atomic_write

AnyResult = TypeVar("AnyResult")


@dataclass(frozen=True)
class ResultFormat:
    """The JSON file of one kind of result.

    Attributes:
        noun: what the file holds, as messages call it; `kind` in the file is this with the name of the package.
        command: the command that writes such a file.
        file_name: its name in the folder of a result.
        versions: the schema versions that can be read; the last one is written.
    """

    noun: str
    command: str
    file_name: str
    versions: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The `kind` of these files."""
        return f"heatbath {self.noun}"

    def dump(self, result: object) -> dict[str, Any]:
        """Convert a result to JSON values."""
        return {"kind": self.kind, "schema": self.versions[-1], **to_builtins(result)}

    def format(self, result: object) -> str:
        """Format a result as the contents of its file."""
        return json.dumps(self.dump(result), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def save(self, result: object, path: Path) -> None:
        """Write a result to a file; an error leaves the previous file."""
        text = self.format(result)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def load(self, path: str | Path, result_type: type[AnyResult]) -> AnyResult:
        """Read a result of a class from its file, or from the folder that holds it.

        Raises:
            BadInput: the file does not exist, is not JSON, is of another kind, is damaged, or has another schema.
        """
        path = Path(path)
        path = path / self.file_name if path.is_dir() else path
        content = self._read_json(path)
        if not isinstance(content, dict) or content.pop("kind", None) != self.kind:
            raise BadInput(f"{path} is not a {self.noun}: write one with `{self.command}`.")
        if (schema := content.pop("schema", None)) not in self.versions:
            raise BadInput(
                f"{path} has schema {schema!r}, expected {self.versions[-1]}: read it with the heatbath that wrote it."
            )
        try:
            result: AnyResult = build_dataclass(result_type, content)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadInput(
                f"{path} is a damaged {self.noun} ({error}): write it again with `{self.command}`."
            ) from error
        return result

    def _read_json(self, path: Path) -> Any:
        again = f"write it again with `{self.command}`"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(f"there is no file {path}: give a {self.file_name} or the folder that holds it.") from error
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): {again}.") from error
        except json.JSONDecodeError as error:
            raise BadInput(f"{path} is not valid JSON ({error.msg} in line {error.lineno}): {again}.") from error


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
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, arguments))}")
        return value
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
