"""Prompts whose answers can be checked: by reference answers, regular expressions or a function of the text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput

Prompt = str | Sequence[Mapping[str, str]]
"""A text, or chat messages with `role` and `content`."""
ScoreFunction = Callable[[str, str], float]
"""From prompt and text to a score from 0 to 1, or whether the text is right."""


def normalise_text(text: str) -> str:
    """The text without white space around it, in lower case: what is compared, and voted on by default."""
    return text.strip().casefold()


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt; `check` scores a text from 0 to 1, or as right or wrong; `vote` names the answer that it gives."""

    prompt: Prompt
    score: Callable[[str], float]
    vote: Callable[[str], str] = normalise_text


def read_scored_prompts(path: str | Path, scorer: ScoreFunction | None = None) -> list[ScoredPrompt]:
    """Scored prompts from JSON lines: `prompt` or `messages`, and `answer`, `regex` or both; blank lines are skipped.

    * answer: the whole text equals it, white space around both and case left aside;
    * regex: it is found somewhere in the text; what its first group found (all of it if it has none) is the vote;
    * both: what the regex finds equals the answer, compared in the same way.

    With a `scorer` every line may do without; it alone says what is right, a line's regex still says what is voted on.
    It is given the prompt (or the last message) and the text.

    Raises:
        BadInput: a file that cannot be read or has no items; a broken line, by its number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text ({error}): give JSON lines in UTF-8.") from error
    items = [
        _parse_line(f"{path}, line {number}", line, scorer) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not items:
        raise BadInput(f"{path} has no prompts: give one JSON object a line.")
    return items


def _parse_line(place: str, line: str, scorer: ScoreFunction | None) -> ScoredPrompt:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: no JSON ({error.msg} at column {error.colno}): mend or remove the line.") from error
    if not isinstance(entry, dict):
        raise BadInput(f"{place}: {line.strip()[:40]!r} is no JSON object: write {{...}}.")
    prompt = _parse_prompt(place, entry)
    vote, found = _build_vote(_compile_regex(place, entry.get("regex")))
    if scorer is not None:
        asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        return ScoredPrompt(prompt, lambda text: scorer(asked, text), vote)
    answer = entry.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        raise BadInput(f"{place}: the answer {answer!r} is neither text nor number: mend the line.")
    if answer is None and entry.get("regex") is None:
        raise BadInput(f'{place}: neither "answer" nor "regex" says what is right: add one, or give a scorer.')
    if answer is None:
        return ScoredPrompt(prompt, found, vote)
    right = normalise_text(str(answer))
    return ScoredPrompt(prompt, lambda text: found(text) and vote(text) == right, vote)


def _parse_prompt(place: str, entry: Mapping[str, Any]) -> Prompt:
    prompt, messages = entry.get("prompt"), entry.get("messages")
    if isinstance(prompt, str) and prompt and messages is None:
        return prompt
    if prompt is None and isinstance(messages, list) and messages and all(map(_is_message, messages)):
        return messages
    raise BadInput(f'{place}: give either "prompt", a text, or "messages" with role and content.')


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _compile_regex(place: str, regex: object) -> re.Pattern[str] | None:
    if regex is None:
        return None
    if not isinstance(regex, str):
        raise BadInput(f"{place}: the regex {regex!r} is no text: mend the line.")
    try:
        return re.compile(regex)
    except re.error as error:
        raise BadInput(f"{place}: the regex {regex!r} does not compile ({error}): mend the line.") from error


def _build_vote(pattern: re.Pattern[str] | None) -> tuple[Callable[[str], str], Callable[[str], bool]]:
    """What a text votes for, and whether the pattern is found in it; a text without it votes for itself."""
    if pattern is None:
        return normalise_text, lambda text: True

    def vote(text: str) -> str:
        match = pattern.search(text)
        return normalise_text(text if match is None else match[1 if pattern.groups else 0] or "")

    return vote, lambda text: pattern.search(text) is not None
