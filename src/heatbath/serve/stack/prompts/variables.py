"""The variables of a prompt: typed, with defaults; what a request gives is checked against them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heatbath.errors import BadInput, format_value, suggest_name
from heatbath.serve.stack.prompts.front_matter import FrontMatter

MAX_CHARACTERS = 1_000_000
"""The longest rendered prompt, and the longest text that its variables may have together."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = frozenset(
    {*("and", "else", "false", "if", "in", "is", "loop"), *("none", "not", "or", "range", "self", "true")}
)
_KEYS = ("type", "description", "default")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "string": (lambda value: isinstance(value, str), "a text"),
    "integer": (_is_integer, "a whole number"),
    "number": (_is_number, "a number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "list": (_is_list, "a list of texts"),
}
"""Types by name: the test of a value, and what to give."""


@dataclass(frozen=True)
class Variable:
    """A variable: one without a default has to be given."""

    name: str
    type: str = "string"
    description: str = ""
    default: Any = None

    @property
    def is_required(self) -> bool:
        """True if it has no default."""
        return self.default is None

    def accepts(self, value: Any) -> bool:
        """Return whether a value is of the type."""
        return TYPES[self.type][0](value)

    @property
    def expectation(self) -> str:
        """The type in words."""
        return TYPES[self.type][1]

    def describe(self) -> dict[str, Any]:
        """Return the variable, ready for JSON."""
        default = {} if self.is_required else {"default": self.default}
        return {"type": self.type, "description": self.description, "required": self.is_required, **default}


def read_variables(matter: FrontMatter) -> dict[str, Variable]:
    """Return the variables that the front matter declares.

    Raises:
        BadInput: a name, a type or a default that cannot be used, with file and line.
    """
    declared = matter.values.get("variables") or {}
    if not isinstance(declared, dict):
        raise matter.error("variables is not a mapping: write name: type.", "variables")
    return {name: _read_variable(matter, name, value) for name, value in declared.items()}


def _read_variable(matter: FrontMatter, name: str, value: Any) -> Variable:
    place = ("variables", name)
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise matter.error(f"{format_value(name)} cannot name a variable: use letters, digits and _.", *place)
    if not isinstance(value, dict):
        value = {"type": value}
    else:
        matter.check_keys(_KEYS, *place)
    kind, description = value.get("type", "string"), value.get("description") or ""
    if kind not in list(TYPES):
        raise matter.error(f"{format_value(kind)} is not a type: give {', '.join(TYPES)}.", *place, "type")
    if not isinstance(description, str):
        raise matter.error("the description is no text: put it in quotes.", *place, "description")
    variable = Variable(name, kind, description, value.get("default"))
    if not variable.is_required and not variable.accepts(variable.default):
        given = f"the default of {name} is {format_value(variable.default)}"
        raise matter.error(f"{given}: give {variable.expectation}.", *place, "default")
    return variable


def fill_variables(variables: Mapping[str, Variable], given: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """Return the value of every variable of `prompt`: what is given, else the default.

    Raises:
        BadInput: an unknown variable, a missing one, a value of another type, or too much text; `param` names it.
    """
    for name in given:
        if name not in variables:
            known = f", it has {', '.join(variables)}" if variables else ", it has none"
            hint = suggest_name(name, variables) or known
            raise BadInput(f"prompt {prompt} has no variable {format_value(name)}{hint}.", param=f"variables.{name}")
    values = {}
    for name, variable in variables.items():
        value = given.get(name, variable.default)
        if value is None:
            message = f"prompt {prompt} needs the variable {name}: give {variable.expectation}."
            raise BadInput(message, param=f"variables.{name}")
        if not variable.accepts(value):
            message = f"variable {name} of prompt {prompt} is {format_value(value)}: give {variable.expectation}."
            raise BadInput(message, param=f"variables.{name}")
        values[name] = value
    size = sum(_count_characters(value) for value in values.values())
    if size > MAX_CHARACTERS:
        message = f"the variables of prompt {prompt} have {size} characters: give at most {MAX_CHARACTERS}."
        raise BadInput(message, param="variables")
    return values


def _count_characters(value: Any) -> int:
    return sum(map(len, value)) if isinstance(value, list | tuple) else len(value) if isinstance(value, str) else 0
