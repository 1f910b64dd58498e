"""The file of answers that a calibration fills batch by batch, and continues after an interruption."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput
from heatbath.record.output_files import atomic_write
from heatbath.record.result_file import to_builtins

ANSWER_FILE = "answers.jsonl"
_SCHEMA = 1


@dataclass(frozen=True)
class StoredAnswer:
    """One answer.

    Attributes:
        text: the answer.
        label: 1 for right and 0 for wrong.
        tokens: its number of tokens.
        signals: its signals by name; NaN for one that could not be computed.
        shifted: the same with a random constant added to the energies of each context.
        costs: tokens that were computed for each signal, beside those of the answer.
    """

    text: str
    label: int
    tokens: int
    signals: Mapping[str, float]
    shifted: Mapping[str, float]
    costs: Mapping[str, float]


@dataclass(frozen=True)
class AnswerFile:
    """The answers of one run in a folder, JSON lines after a header that identifies the run; None keeps nothing."""

    folder: Path | None
    run: str

    def read(self) -> list[StoredAnswer]:
        """Return the answers of an earlier part of this run, or start the file.

        Raises:
            BadInput: the file is of another run, or damaged.
            OSError: the folder cannot be written to.
        """
        if self.folder is None:
            return []
        path = self.folder / ANSWER_FILE
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._write(path, [])
            return []
        header, *lines = path.read_text(encoding="utf-8").split("\n")
        if _parse_line(header) != self._header():
            raise BadInput(
                f"{path} holds the answers of another model, other questions or other settings: "
                "give another folder, or remove the file."
            )
        answers = [_parse_answer(path, line) for line in lines[:-1]]
        if lines and lines[-1]:
            # An interrupted write left a part of a line, which is answered again.
            self._write(path, answers)
        return answers

    def append(self, answers: Sequence[StoredAnswer]) -> None:
        """Add answers at the end."""
        if self.folder is None:
            return
        with (self.folder / ANSWER_FILE).open("a", encoding="utf-8") as file:
            file.write("".join(map(_format_answer, answers)))
            file.flush()
            os.fsync(file.fileno())

    def _header(self) -> dict[str, Any]:
        return {"kind": "heatbath answers", "schema": _SCHEMA, "run": self.run}

    def _write(self, path: Path, answers: Sequence[StoredAnswer]) -> None:
        with atomic_write(path) as temporary:
            text = json.dumps(self._header()) + "\n" + "".join(map(_format_answer, answers))
            temporary.write_text(text, encoding="utf-8")


def _format_answer(answer: StoredAnswer) -> str:
    return json.dumps(to_builtins(answer), ensure_ascii=True, allow_nan=False) + "\n"


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _parse_answer(path: Path, line: str) -> StoredAnswer:
    content = _parse_line(line)
    try:
        numbers = {
            name: {key: _parse_number(value) for key, value in content[name].items()}
            for name in ("signals", "shifted", "costs")
        }
        return StoredAnswer(str(content["text"]), int(content["label"]), int(content["tokens"]), **numbers)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is damaged: give another folder, or remove the file.") from error


def _parse_number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
