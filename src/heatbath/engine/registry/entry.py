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
class Setting:
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
class Dish(Generic[T]):
    """One thing that can be asked for: `make(setting, value, …)` gives it, `takes` shows a value."""

    make: Callable[..., T]
    takes: str


def choose(menu: Mapping[str, Dish[T]], kind: str, asked: str, setting: Setting) -> T:
    """What `name=value` asks for. `@path` stands for the contents of a file; values that are no JSON are text.

    Raises:
        BadInput: no such name, a value that does not fit, a file that cannot be read.
    """
    name, equals, text = asked.partition("=")
    dish = _found(menu, kind, name)
    if not equals and _needed(dish.make):
        raise BadInput(f"the {kind} {name} needs a value: write {name}={dish.takes}.")
    value = _value(text, f"{kind} {name}") if equals else {}
    return _made(dish, f"{kind} {name}", setting, value)


def made(menu: Mapping[str, Dish[T]], kind: str, asked: tuple[str, Any], setting: Setting) -> T:
    """What a (name, value) asks for, the value as it came from JSON, None for none; no file is ever read.

    Raises:
        BadInput: no such name, or a value that does not fit.
    """
    name, value = asked
    dish = _found(menu, kind, name)
    if value is None and _needed(dish.make):
        raise BadInput(f"the {kind} {name} needs a value: give {dish.takes.removesuffix(' or @file')}.")
    return _made(dish, f"{kind} {name}", setting, {} if value is None else value)


def _found(menu: Mapping[str, Dish[T]], kind: str, name: str) -> Dish[T]:
    if name not in menu:
        near = difflib.get_close_matches(name, menu, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise BadInput(f"there is no {kind} {name!r}{hint}: choose from {', '.join(menu)}.")
    return menu[name]


def _made(dish: Dish[T], what: str, setting: Setting, value: Any) -> T:
    named = value if isinstance(value, dict) else {}
    given = () if isinstance(value, dict) else (value,)
    try:
        return dish.make(setting, *given, **named)
    except HeatbathError:
        raise
    except (TypeError, AttributeError, ValueError, LookupError, OverflowError) as error:
        raise BadInput(f"the {what} does not take {value!r:.60} ({error}): write {dish.takes}.") from error


def _needed(make: Callable[..., object]) -> bool:
    """Whether there is no making it without a value."""
    parameters = list(inspect.signature(make).parameters.values())[1:]
    return any(each.default is each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)


def _value(text: str, what: str) -> Any:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the {what} is to be read from {text[1:]}, which cannot be: {error}.") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
