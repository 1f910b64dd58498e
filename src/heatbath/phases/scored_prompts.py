"""Prompts with a check of the answer: a reference answer, a regular expression, or a function of the text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput
from heatbath.models.base import Model, encode_chat

Prompt = str | Sequence[Mapping[str, str]]
"""A text, or chat messages with `role` and `content`."""
ScoreFunction = Callable[[str, str], float]
"""Maps prompt and text to a score from 0 to 1, or to true if the text is correct."""


def normalise_text(text: str) -> str:
    """Strip white space and fold case; comparisons and votes use this form of a text."""
    return text.strip().casefold()


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt with a check: `score` maps a text to a number from 0 to 1 or a bool, and `vote` extracts its answer."""

    prompt: Prompt
    score: Callable[[str], float]
    vote: Callable[[str], str] = normalise_text


def read_scored_prompts(path: str | Path, scorer: ScoreFunction | None = None) -> list[ScoredPrompt]:
    """Read scored prompts from JSON lines with `prompt` or `messages`, and `answer`, `regex` or both.

    * answer: the text is correct if it equals the answer, ignoring case and surrounding white space;
    * regex: the text is correct if the expression matches somewhere; the vote is the first group, or the whole match;
    * both: the text is correct if the vote equals the answer, compared in the same way.

    Blank lines are skipped. A `scorer` replaces these checks, and lines need neither key; it is called with the prompt
    (or the last message) and the text. The regex of a line still extracts the vote.

    Raises:
        BadInput: the file cannot be read or is empty, or a line is invalid; the message gives its number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text ({error}): give JSON lines in UTF-8.") from error
    items = [
        _parse_line(f"{path}, line {number}", line, scorer) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not items:
        raise BadInput(f"{path} has no prompts: give one JSON object per line.")
    return items


def _parse_line(place: str, line: str, scorer: ScoreFunction | None) -> ScoredPrompt:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: not valid JSON ({error.msg} at column {error.colno}): fix or remove it.") from error
    if not isinstance(entry, dict):
        raise BadInput(f"{place}: expected a JSON object {{...}}, got {line.strip()[:40]!r}.")
    prompt = _parse_prompt(place, entry)
    vote, matches = _build_vote(_compile_regex(place, entry.get("regex")))
    if scorer is not None:
        question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        return ScoredPrompt(prompt, lambda text: scorer(question, text), vote)
    answer = entry.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        raise BadInput(f"{place}: `answer` must be a string or a number, got {answer!r}.")
    if answer is None and entry.get("regex") is None:
        raise BadInput(f'{place}: expected "answer" or "regex", got neither: add one, or give a scorer.')
    if answer is None:
        return ScoredPrompt(prompt, matches, vote)
    reference = normalise_text(str(answer))
    return ScoredPrompt(prompt, lambda text: matches(text) and vote(text) == reference, vote)


def _parse_prompt(place: str, entry: Mapping[str, Any]) -> Prompt:
    prompt, messages = entry.get("prompt"), entry.get("messages")
    if isinstance(prompt, str) and prompt and messages is None:
        return prompt
    if prompt is None and isinstance(messages, list) and messages and all(map(_is_message, messages)):
        return messages
    raise BadInput(f'{place}: expected either "prompt", a string, or "messages" with role and content.')


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _compile_regex(place: str, regex: object) -> re.Pattern[str] | None:
    if regex is None:
        return None
    if not isinstance(regex, str):
        raise BadInput(f"{place}: `regex` must be a string, got {regex!r}.")
    try:
        return re.compile(regex)
    except re.error as error:
        raise BadInput(f"{place}: `regex` is not a regular expression ({error}), got {regex!r}.") from error


def _build_vote(pattern: re.Pattern[str] | None) -> tuple[Callable[[str], str], Callable[[str], bool]]:
    """Return the vote of a text, which is the text itself if the pattern does not match, and the test for a match."""
    if pattern is None:
        return normalise_text, lambda text: True

    def vote(text: str) -> str:
        match = pattern.search(text)
        return normalise_text(text if match is None else match[1 if pattern.groups else 0] or "")

    return vote, lambda text: pattern.search(text) is not None


def encode_prompt(model: Model, prompt: Prompt) -> tuple[int, ...]:
    """Return the tokens of a prompt; messages go through the chat template of the model.

    Raises:
        BadInput: messages, and the model has no chat template.
    """
    if isinstance(prompt, str):
        return tuple(model.encode(prompt))
    return tuple(encode_chat(model, prompt))
