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
    def has_many(self) -> bool:
        """Whether there can be more than one document."""
        return self.jsonl or len(self.files) > 1

    @property
    def num_bytes(self) -> int | None:
        """Bytes there are to read, None when that is not known."""
        if self.text is not None:
            return len(self.text.encode("utf-8", "surrogateescape"))
        return None if "-" in self.files else sum(os.path.getsize(name) for name in self.files)

    def validate(self) -> None:
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
                _validate_file(name, self.jsonl)

    def open_documents(self) -> Iterator[Document]:
        """The documents, opened one after the other."""
        if self.text is not None:
            yield self.text
        for name in self.files:
            with _open_input(name) as file:
                if self.jsonl:
                    yield from _read_texts(name, file)
                else:
                    yield file

    def compute_digest(self) -> str:
        """A hash of everything that is to be read; stdin counts by its name alone."""
        total = hashlib.sha256(repr((self.text, self.jsonl)).encode())
        for name in self.files:
            total.update(b"-" if name == "-" else _compute_file_digest(name))
        return total.hexdigest()


def _validate_file(name: str, jsonl: bool) -> None:
    if not Path(name).is_file():
        raise BadInput(f"there is no file {name}: check the path, or use --text for a text.")
    if os.path.getsize(name) == 0:
        raise BadInput(f"{name} is empty: give at least one character.")
    if jsonl:
        with _open_input(name) as file:
            if not sum(1 for _ in _read_texts(name, file)):
                raise BadInput(f"{name} holds no text: give one JSON object a line.")


def _compute_file_digest(name: str) -> bytes:
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@contextmanager
def _open_input(name: str) -> Iterator[TextIOBase]:
    if name == "-":
        yield cast(TextIOBase, sys.stdin)
        return
    with open(name, encoding="utf-8", newline="") as file:
        yield file


def _read_texts(name: str, file: TextIOBase) -> Iterator[str]:
    """The texts of JSON lines; blank lines are passed over."""
    for number, line in enumerate(_read_lines(name, file), 1):
        if line.strip():
            yield _parse_text(f"{name}, line {number}", line)


def _read_lines(name: str, file: TextIOBase) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} is no UTF-8 ({error.reason} at byte {error.start}): convert it first.") from error


def _parse_text(location: str, line: str) -> str:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{location}: no JSON ({error.msg} at column {error.colno}): mend or remove the line."
        ) from error
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text:
        raise BadInput(f'{location}: no "text" that is a string with something in it: mend or remove the line.')
    return text
