"""From `name=value` to what it stands for: a value is a number, a text, a list, or an object of named settings."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import Model

T = TypeVar("T")


@dataclass(frozen=True)
class BuildContext:
    """Where something is to act: the model, and the most tokens an answer may have.

    `spelling` stands for the model's `token_bytes`, where a host has read the vocabulary already.
    """

    model: Model
    max_tokens: int
    spelling: Callable[[int], bytes] | None = None

    @property
    def token_bytes(self) -> Callable[[int], bytes]:
        """The bytes of each token."""
        return self.model.token_bytes if self.spelling is None else self.spelling


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One thing that can be asked for: `make(setting, value, …)` gives it, `takes` shows a value."""

    build: Callable[..., T]
    example: str


def build_from_text(registry: Mapping[str, Entry[T]], kind: str, spec: str, context: BuildContext) -> T:
    """What `name=value` asks for. `@path` stands for the contents of a file; values that are no JSON are text.

    Raises:
        BadInput: no such name, a value that does not fit, a file that cannot be read.
    """
    name, equals, text = spec.partition("=")
    dish = _find_entry(registry, kind, name)
    if not equals and _requires_value(dish.build):
        raise BadInput(f"the {kind} {name} needs a value: write {name}={dish.example}.")
    value = _parse_value(text, f"{kind} {name}") if equals else {}
    return _build_entry(dish, f"{kind} {name}", context, value)


def build(registry: Mapping[str, Entry[T]], kind: str, spec: tuple[str, Any], context: BuildContext) -> T:
    """What a (name, value) asks for, the value as it came from JSON, None for none; no file is ever read.

    Raises:
        BadInput: no such name, or a value that does not fit.
    """
    name, value = spec
    dish = _find_entry(registry, kind, name)
    if value is None and _requires_value(dish.build):
        raise BadInput(f"the {kind} {name} needs a value: give {dish.example.removesuffix(' or @file')}.")
    return _build_entry(dish, f"{kind} {name}", context, {} if value is None else value)


def _find_entry(registry: Mapping[str, Entry[T]], kind: str, name: str) -> Entry[T]:
    if name not in registry:
        near = difflib.get_close_matches(name, registry, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise BadInput(f"there is no {kind} {name!r}{hint}: choose from {', '.join(registry)}.")
    return registry[name]


def _build_entry(entry: Entry[T], label: str, context: BuildContext, value: Any) -> T:
    named = value if isinstance(value, dict) else {}
    given = () if isinstance(value, dict) else (value,)
    try:
        return entry.build(context, *given, **named)
    except HeatbathError:
        raise
    except (TypeError, AttributeError, ValueError, LookupError, OverflowError) as error:
        raise BadInput(f"the {label} does not take {value!r:.60} ({error}): write {entry.example}.") from error


def _requires_value(build: Callable[..., object]) -> bool:
    """Whether there is no making it without a value."""
    parameters = list(inspect.signature(build).parameters.values())[1:]
    return any(each.default is each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)


def _parse_value(text: str, label: str) -> Any:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the {label} is to be read from {text[1:]}, which cannot be: {error}.") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
