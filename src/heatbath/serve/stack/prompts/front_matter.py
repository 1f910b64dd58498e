"""The front matter of a prompt file: YAML between two lines of ---, with the line of every value for messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from heatbath.errors import BadInput, format_value, suggest_name

MAX_BYTES = 1 << 20
"""The largest prompt file that is read."""

Place = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


class PromptMistake(BadInput):
    """A mistake in a prompt file: `path`, `line` and the `sentence` of the message."""

    def __init__(self, path: Path, line: int, sentence: str) -> None:
        super().__init__(f"{path}:{line}: {sentence}")
        self.path, self.line, self.sentence = path, line, sentence


@dataclass(frozen=True)
class FrontMatter:
    """The front matter of a file and the text after it.

    Attributes:
        values: plain values; `texts` has each scalar as it is written, `lines` the line of each value.
        body: the text after the front matter, which begins at the line `body_line`.
    """

    path: Path
    values: dict[str, Any]
    body: str
    body_line: int
    texts: dict[Place, str] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)

    def error(self, sentence: str, *place: str | int) -> PromptMistake:
        """Return an error about the value at `place`, with the file and the line."""
        nearest = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in self.lines), ())
        return PromptMistake(self.path, self.lines.get(nearest, 1), sentence)

    def check_keys(self, known: Iterable[str], *place: str | int) -> None:
        """Check that the mapping at `place` has keys of `known` only. Raises `BadInput`."""
        mapping: Any = self.values
        for step in place:
            mapping = mapping[step]
        options = list(known)
        for key in mapping:
            if key not in options:
                hint = suggest_name(key, options) or f", there are {', '.join(options)}"
                raise self.error(f"{format_value(key)} is not a key here{hint}.", *place, key)


def read_front_matter(path: Path, text: str) -> FrontMatter:
    """Return the front matter of `text`, the content of the file `path`.

    Raises:
        PromptMistake: there is none, or it is not a mapping in plain YAML.
    """
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != "---":
        raise PromptMistake(path, 1, "there is no front matter: begin the file with a line of --- and a name.")
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if end is None:
        raise PromptMistake(path, 1, "the front matter does not end: close it with a line of ---.")
    matter = FrontMatter(path, {}, "".join(lines[end + 1 :]), end + 2)
    node = _compose(path, "".join(lines[1:end]))
    if not isinstance(node, yaml.MappingNode):
        raise PromptMistake(path, 2, "the front matter is not a mapping: write lines such as name: summary.")
    matter.values.update(_read_node(matter, node, ()))
    return matter


def read_text(path: Path) -> str:
    """Return the content of a prompt file, with line feeds as line ends.

    Raises:
        PromptMistake: it cannot be read, is not UTF-8 or is larger than `MAX_BYTES`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PromptMistake(path, 1, f"the file cannot be read ({error.strerror}): check its permissions.") from None
    if len(content) > MAX_BYTES:
        raise PromptMistake(path, 1, f"the file has more than {MAX_BYTES} bytes: shorten it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PromptMistake(path, line, f"byte {error.start} is not UTF-8: save the file as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _compose(path: Path, text: str) -> Any:
    """Return the tree of nodes of a YAML text, whose first line is the second of the file."""
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise PromptMistake(path, event.start_mark.line + 2, "aliases are not read here: write the value out.")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise PromptMistake(path, mark.line + 2 if mark else 2, f"the front matter is not YAML ({problem}).") from None
    except RecursionError:
        raise PromptMistake(path, 2, "the front matter is nested too deep: write it flatter.") from None


def _read_node(matter: FrontMatter, node: Any, place: Place) -> Any:
    """Return the plain value of a node, and note its line and its text."""
    matter.lines.setdefault(place, node.start_mark.line + 2)
    if isinstance(node, yaml.MappingNode):
        return dict(_read_pairs(matter, node, place))
    if isinstance(node, yaml.SequenceNode):
        return [_read_node(matter, each, (*place, i)) for i, each in enumerate(node.value)]
    matter.texts[place] = node.value
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise matter.error(f"{format_value(node.value)} is not a plain value: put it in quotes.", *place) from None


def _read_pairs(matter: FrontMatter, node: Any, place: Place) -> Iterator[tuple[str, Any]]:
    seen = set()
    for key, value in node.value:
        line = key.start_mark.line + 2
        if not isinstance(key, yaml.ScalarNode) or key.value in seen:
            what = "is given twice" if isinstance(key, yaml.ScalarNode) else "is no key"
            raise PromptMistake(matter.path, line, f"{format_value(key.value)} {what}: write each key once, as a word.")
        seen.add(key.value)
        matter.lines[(*place, key.value)] = line
        yield key.value, _read_node(matter, value, (*place, key.value))
