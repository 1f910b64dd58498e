r"""The question files of the game quiz of BSD: pairs of patterns, whose alternatives are accepted answers.

A line holds the categories of one fact, separated by colons; the index names them. A pattern is `a|b` for either,
`{…}` for a group, `[…]` for a part that may be left out, and `\c` for a character as it is; a backslash at the end of
a line continues it. Source: the manual page quiz(6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from heatbath.errors import BadInput, suggest_name

DEBIAN_QUIZ_FOLDER = Path("/usr/share/games/bsdgames/quiz")
MAX_ANSWERS = 64
"""Accepted answers of one question; a pattern with more alternatives is cut."""


@dataclass(frozen=True)
class QuizQuestion:
    """A question with the spellings of its answer; `topic` is the name of its file."""

    topic: str
    text: str
    answers: tuple[str, ...]


def read_quiz_folder(folder: Path, topic: str = "") -> list[QuizQuestion]:
    """Return the questions of every file of the index, or of the file `topic`: the second category from the first.

    Raises:
        BadInput: there is no such topic.
    """
    files = dict(_read_index(folder / "index"))
    if topic and topic not in files:
        raise BadInput(f"there is no topic {topic!r}{suggest_name(topic, files)}: use {', '.join(sorted(files))}.")
    found: list[QuizQuestion] = []
    for name, categories in files.items():
        if topic in ("", name) and (folder / name).is_file():
            found += _read_questions(folder / name, categories)
    return found


def expand_pattern(pattern: str) -> list[str]:
    """Return the texts that a pattern stands for, at most 64, the first alternative first."""
    texts, end = _expand_alternatives(pattern, 0)
    if end < len(pattern):
        raise BadInput(f"a pattern has a bracket that was not opened, got {pattern!r}.")
    return list(dict.fromkeys(" ".join(text.split()) for text in texts))


def _read_index(path: Path) -> Iterator[tuple[str, list[str]]]:
    for line in _join_lines(path):
        file, *categories = _split_fields(line)
        if len(categories) >= 2:
            yield Path(file).name, [expand_pattern(category)[0] for category in categories]


def _read_questions(path: Path, categories: list[str]) -> Iterator[QuizQuestion]:
    for line in _join_lines(path):
        fields = _split_fields(line)
        if len(fields) < 2 or not fields[0] or not fields[1]:
            continue
        given = expand_pattern(fields[0])[0]
        answers = tuple(answer for answer in expand_pattern(fields[1]) if any(map(str.isalnum, answer)))
        if given and answers:
            yield QuizQuestion(path.name, f"{categories[0]}: {given}. {categories[1]}?", answers)


def _join_lines(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="latin-1").replace("\\\n", "")
    return (line for line in text.split("\n") if line.strip())


def _split_fields(line: str) -> list[str]:
    """Split at colons outside brackets that no backslash protects."""
    fields, depth, place = [""], 0, 0
    while place < len(line):
        character = line[place]
        if character == "\\" and place + 1 < len(line):
            fields[-1] += line[place : place + 2]
            place += 2
            continue
        depth += (character in "{[") - (character in "}]")
        if character == ":" and depth == 0:
            fields.append("")
        else:
            fields[-1] += character
        place += 1
    return fields


def _expand_alternatives(pattern: str, place: int) -> tuple[list[str], int]:
    """Return the texts from `place` up to a closing bracket or the end, and where that is."""
    texts: list[str] = []
    branch = [""]
    while place < len(pattern) and pattern[place] not in "}]":
        character = pattern[place]
        if character == "|":
            texts, branch, place = texts + branch, [""], place + 1
        elif character in "{[":
            inner, place = _expand_alternatives(pattern, place + 1)
            inner = [*inner, ""] if character == "[" else inner
            branch, place = [a + b for a, b in product(branch, inner)][:MAX_ANSWERS], place + 1
        else:
            skip = character == "\\" and place + 1 < len(pattern)
            branch = [text + pattern[place + skip] for text in branch]
            place += 1 + skip
    return (texts + branch)[:MAX_ANSWERS], place
