"""The input of `heatbath measure`: a text, files, stdin or JSON lines."""

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
    """The documents to measure: `text`, or `files` ("-" is stdin), one document each or, with `jsonl`, one per line."""

    text: str | None
    files: Sequence[str]
    jsonl: bool

    @property
    def has_many(self) -> bool:
        """True if there can be more than one document."""
        return self.jsonl or len(self.files) > 1

    @property
    def num_bytes(self) -> int | None:
        """Size of the input in bytes, None if it is unknown."""
        if self.text is not None:
            return len(self.text.encode("utf-8", "surrogateescape"))
        return None if "-" in self.files else sum(os.path.getsize(name) for name in self.files)

    def validate(self) -> None:
        """Check the input before a model is loaded.

        Raises:
            BadInput: no input or two kinds of input, an empty text, a missing file, an invalid line.
        """
        if (self.text is None) == (not self.files):
            raise BadInput("give either --text, or files, or - for stdin.")
        if self.text == "":
            raise BadInput("the text is empty: give at least one character.")
        for name in self.files:
            if name != "-":
                _validate_file(name, self.jsonl)

    def open_documents(self) -> Iterator[Document]:
        """Yield the documents, opening one file after the other."""
        if self.text is not None:
            yield self.text
        for name in self.files:
            with _open_input(name) as file:
                if self.jsonl:
                    yield from _read_texts(name, file)
                else:
                    yield file

    def compute_digest(self) -> str:
        """Return a hash of the whole input; stdin contributes its name only."""
        total = hashlib.sha256(repr((self.text, self.jsonl)).encode())
        for name in self.files:
            total.update(b"-" if name == "-" else _compute_file_digest(name))
        return total.hexdigest()


def _validate_file(name: str, jsonl: bool) -> None:
    if not Path(name).is_file():
        raise BadInput(f"there is no file {name}: check the path, or pass a text with --text.")
    if os.path.getsize(name) == 0:
        raise BadInput(f"{name} is empty: give at least one character.")
    if jsonl:
        with _open_input(name) as file:
            if not sum(1 for _ in _read_texts(name, file)):
                raise BadInput(f"{name} has no texts: give one JSON object per line.")


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
    """Yield the texts of JSON lines; blank lines are skipped."""
    for number, line in enumerate(_read_lines(name, file), 1):
        if line.strip():
            yield _parse_text(f"{name}, line {number}", line)


def _read_lines(name: str, file: TextIOBase) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} is not UTF-8 ({error.reason} at byte {error.start}): convert it first.") from error


def _parse_text(location: str, line: str) -> str:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{location}: not valid JSON ({error.msg} at column {error.colno}): fix or remove the line."
        ) from error
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text:
        raise BadInput(f'{location}: expected "text" with a non-empty string: fix or remove the line.')
    return text
