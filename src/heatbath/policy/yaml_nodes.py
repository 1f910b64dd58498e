"""Values of a YAML file that know their line, so that a mistake is reported as `file:line`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput, MissingExtra, format_value, suggest_name

MAX_FILE_BYTES = 16 << 20


class YamlValue:
    """A value and its place. What it is read as decides its type: a phrase `no` is a text, not a truth value."""

    def __init__(self, path: Path, node: Any, label: str) -> None:
        self.path, self.node, self.label = path, node, label

    @property
    def line(self) -> int:
        """The line that the value begins in, from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_section(self) -> bool:
        """True for a mapping."""
        return str(self.node.id) == "mapping"

    @property
    def is_list(self) -> bool:
        """True for a list."""
        return str(self.node.id) == "sequence"

    def error(self, message: str) -> BadInput:
        """Return an error at this place."""
        return BadInput(f"{self.path.name}:{self.line}: {message}", param=self.label)

    def text(self) -> str:
        """Return a text that is not empty, as it is written."""
        if str(self.node.id) != "scalar":
            raise self.error(f"`{self.label}` is a {self.node.id}: give a text.")
        if not self.node.value.strip() or self.node.tag.endswith(":null"):
            raise self.error(f"`{self.label}` is empty: give a text, in quotes where YAML reads it otherwise.")
        return str(self.node.value)

    def items(self) -> list[YamlValue]:
        """Return the values of a list that is not empty; a single value is a list of one."""
        if not self.is_list:
            return [self]
        if not self.node.value:
            raise self.error(f"`{self.label}` is empty: give at least one.")
        return [YamlValue(self.path, each, self.label) for each in self.node.value]

    def texts(self) -> tuple[str, ...]:
        """Return one text or several."""
        return tuple(each.text() for each in self.items())

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number from `low` to `high`."""
        try:
            number = float(self.text())
        except ValueError:
            raise self.error(f"`{self.label}` is {format_value(self.node.value)}: give a number.") from None
        if not (math.isfinite(number) and low <= number <= high):
            bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else ""
            raise self.error(f"`{self.label}` is {self.node.value}: give a finite number{bounds}.")
        return number

    def boolean(self) -> bool:
        """Return a truth value."""
        if not self.node.tag.endswith(":bool"):
            raise self.error(f"`{self.label}` is {format_value(self.node.value)}: give true or false.")
        return str(self.node.value).lower() in ("true", "yes", "on")

    def choice(self, choices: Sequence[str]) -> str:
        """Return one of several words."""
        word = self.text()
        if word not in choices:
            hint = suggest_name(word, choices)
            raise self.error(f"`{self.label}` is {format_value(word)}{hint}: choose from {', '.join(choices)}.")
        return word

    def section(self) -> YamlSection:
        """Return the mapping that this is."""
        if not self.is_section:
            raise self.error(f"`{self.label}` is a {self.node.id}: give a mapping of names to values.")
        return YamlSection(self)


class YamlSection:
    """A mapping of a YAML file whose values are taken by name."""

    def __init__(self, place: YamlValue) -> None:
        self.place = place
        self._values: dict[str, YamlValue] = {}
        self._known: list[str] = []
        for key, node in place.node.value:
            name = str(key.value)
            value = YamlValue(place.path, node, name)
            if name in self._values:
                raise YamlValue(place.path, key, name).error(f"`{name}` is given twice: leave one.")
            self._values[name] = value
            self._values[name].label = name

    def take(self, name: str) -> YamlValue | None:
        """Return the value of a name, None if there is none."""
        self._known.append(name)
        return self._values.get(name)

    def require(self, name: str, example: str) -> YamlValue:
        """Return the value of a name that has to be there."""
        value = self.take(name)
        if value is None:
            similar = suggest_name(name, self._values).replace("did you mean", "is it")
            raise self.place.error(f"`{name}` is missing in `{self.place.label}`{similar}: add {example}.")
        return value

    def finish(self) -> None:
        """Raise `BadInput` for a name that has not been asked for."""
        for name, value in self._values.items():
            if name not in self._known:
                hint = suggest_name(name, self._known)
                raise value.error(f"`{self.place.label}` has no `{name}`{hint}: choose from {', '.join(self._known)}.")


def read_yaml(path: Path) -> tuple[bytes, YamlValue]:
    """Return the bytes of a YAML file and its one document.

    Raises:
        OSError: the file cannot be read.
        BadInput: it is no UTF-8, no YAML, too large or empty; with the line.
        MissingExtra: without the extra `policy`.
    """
    data = path.read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise BadInput(f"{path.name} has {len(data)} bytes: a policy may have at most {MAX_FILE_BYTES}.")
    return data, parse_yaml(data, path)


def parse_yaml(data: bytes, path: Path) -> YamlValue:
    """Return the one document of the bytes of a YAML file. Raises as `read_yaml` does."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("reading a policy", "policy") from error
    try:
        node = yaml.compose(data.decode("utf-8-sig"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{path.name}:{line}: a byte is not UTF-8: save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise BadInput(f"{path.name}:{line}: not valid YAML ({getattr(error, 'problem', None) or error}).") from None
    except RecursionError:
        raise BadInput(f"{path.name}:1: values are nested too deeply: a policy needs few levels.") from None
    if node is None:
        raise BadInput(f"{path.name}:1: the file is empty: give a list of `rules`.")
    return YamlValue(path, node, "policy")
