"""What `heatbath measure` is given: a text, files, stdin or JSON lines."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import cast

from heatbath.engine import Document
from heatbath.errors import BadInput


@dataclass(frozen=True)
class Inputs:
    """Where documents come from: `text`, or `files` ("-" is stdin), each one document or, with `jsonl`, many."""

    text: str | None
    files: Sequence[str]
    jsonl: bool

    @property
    def many(self) -> bool:
        """Whether there can be more than one document."""
        return self.jsonl or len(self.files) > 1

    @property
    def size(self) -> int | None:
        """Bytes there are to read, None when that is not known."""
        if self.text is not None:
            return len(self.text.encode("utf-8", "surrogateescape"))
        return None if "-" in self.files else sum(os.path.getsize(name) for name in self.files)

    def check(self) -> None:
        """Refuse what can be refused before a model is loaded.

        Raises:
            BadInput: nothing or too much given, an empty text, a file that is not there, a broken line.
        """
        if (self.text is None) == (not self.files):
            raise BadInput("give either --text, or files, or - for stdin.")
        if self.text == "":
            raise BadInput("the text is empty: give at least one character.")
        for name in self.files:
            if name != "-":
                _check_file(name, self.jsonl)

    def documents(self) -> Iterator[Document]:
        """The documents, opened one after the other."""
        if self.text is not None:
            yield self.text
        for name in self.files:
            with _opened(name) as file:
                if self.jsonl:
                    yield from _lines(name, file)
                else:
                    yield file

    def digest(self) -> str:
        """A hash of everything that is to be read; stdin counts by its name alone."""
        total = hashlib.sha256(repr((self.text, self.jsonl)).encode())
        for name in self.files:
            total.update(b"-" if name == "-" else _file_digest(name))
        return total.hexdigest()


def _check_file(name: str, jsonl: bool) -> None:
    if not Path(name).is_file():
        raise BadInput(f"there is no file {name}: check the path, or use --text for a text.")
    if os.path.getsize(name) == 0:
        raise BadInput(f"{name} is empty: give at least one character.")
    if jsonl:
        with _opened(name) as file:
            if not sum(1 for _ in _lines(name, file)):
                raise BadInput(f"{name} holds no text: give one JSON object a line.")


def _file_digest(name: str) -> bytes:
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@contextmanager
def _opened(name: str) -> Iterator[TextIOBase]:
    if name == "-":
        yield cast(TextIOBase, sys.stdin)
        return
    with open(name, encoding="utf-8", newline="") as file:
        yield file


def _lines(name: str, file: TextIOBase) -> Iterator[str]:
    """The texts of JSON lines; blank lines are passed over."""
    for number, line in enumerate(_decoded(name, file), 1):
        if line.strip():
            yield _text_of(f"{name}, line {number}", line)


def _decoded(name: str, file: TextIOBase) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} is no UTF-8 ({error.reason} at byte {error.start}): convert it first.") from error


def _text_of(place: str, line: str) -> str:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: no JSON ({error.msg} at column {error.colno}): mend or remove the line.") from error
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text:
        raise BadInput(f'{place}: no "text" that is a string with something in it: mend or remove the line.')
    return text
