"""Prompts with a check of the answer, read from JSON lines; `docs/prompts.md` describes the file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput, suggest_name
from heatbath.questions import graders
from heatbath.questions.graders import Answer, Grader, normalise_text
from heatbath.questions.json_lines import read_json_lines

Prompt = str | Sequence[Mapping[str, str]]
"""A text, or chat messages with `role` and `content`."""
ScoreFunction = Callable[[str, str], float]
"""Maps prompt and text to a score from 0 to 1, or to true if the text is correct."""

GRADERS = ("exact", "normalised", "contains", "numeric", "regex", "choice")
_KEYS = ("prompt", "messages", "answer", "grader", "regex", "choices", "tolerance")
_LETTER = re.compile(r"[A-Z]")


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt with a check: `score` maps a text to a number from 0 to 1 or a bool, and `vote` extracts its answer.

    `expected` and `grader` are shown in reports. `place` is the line of the file, for messages.
    """

    prompt: Prompt
    score: Callable[[str], float]
    vote: Callable[[str], str] = normalise_text
    expected: str = ""
    grader: str = ""
    place: str = ""

    @property
    def question(self) -> str:
        """The prompt, or the content of the last message."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[-1]["content"]


@dataclass(frozen=True)
class PromptFile:
    """The prompts of a file; with `is_scored` they have answers, or a scorer judges them."""

    items: tuple[ScoredPrompt, ...]
    is_scored: bool


def read_scored_prompts(path: str | Path, scorer: ScoreFunction | None = None) -> list[ScoredPrompt]:
    """Read scored prompts from JSON lines with `prompt` or `messages`, and `answer`, `regex` or both.

    Every line is judged by its `grader`, one of `GRADERS`; without one, a number is judged by "numeric", a capital
    letter or an answer with `choices` by "choice", a `regex` by "regex", and any other answer by "contains". An answer
    may be a list of accepted ones. Blank lines are skipped. A `scorer` replaces these checks, and lines need no
    answer; it is called with the prompt (or the last message) and the text. The regex of a line still extracts the
    vote.

    Raises:
        BadInput: the file cannot be read or is empty, or a line is invalid; the message gives its number.
    """
    return [parse_entry(place, entry, scorer) for place, entry in read_entries(path)]


def read_prompt_file(path: str | Path, scorer: ScoreFunction | None = None) -> PromptFile:
    """Read prompts that may have answers: if one line has one, or with a scorer, all are scored.

    Raises:
        BadInput: as in `read_scored_prompts`.
    """
    entries = read_entries(path)
    is_scored = scorer is not None or any({"answer", "regex"} & entry.keys() for _, entry in entries)
    judge = scorer if is_scored else lambda prompt, text: 0.0
    return PromptFile(tuple(parse_entry(place, entry, judge) for place, entry in entries), is_scored)


def read_entries(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects of a file of prompts, each with its place for messages.

    Raises:
        BadInput: the file cannot be read or is empty, or a line is no JSON object or has a misspelt key.
    """
    entries = read_json_lines(path, "prompts")
    for place, entry in entries:
        for key in entry.keys() - set(_KEYS):
            # Data sets bring keys of their own, but a misspelt one would silently leave its line without a check.
            if hint := suggest_name(key, _KEYS, cutoff=0.75):
                raise BadInput(f"{place}: unknown key {key!r}{hint}: rename or remove it.")
    return entries


def parse_entry(place: str, entry: Mapping[str, Any], scorer: ScoreFunction | None) -> ScoredPrompt:
    """Build the scored prompt of one object; a `scorer` replaces its grader.

    Raises:
        BadInput: the object is invalid; the message begins with `place`.
    """
    prompt = _parse_prompt(place, entry)
    if scorer is None:
        grader = _build_grader(place, entry)
        return ScoredPrompt(prompt, grader.is_right, grader.vote, grader.expected, grader.name, place)
    question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    pattern = _compile_regex(place, entry.get("regex"))
    vote = normalise_text if pattern is None else graders.build_regex(pattern, ()).vote
    return ScoredPrompt(prompt, lambda text: scorer(question, text), vote, grader="scorer", place=place)


def _parse_prompt(place: str, entry: Mapping[str, Any]) -> Prompt:
    prompt, messages = entry.get("prompt"), entry.get("messages")
    if isinstance(prompt, str) and prompt and messages is None:
        return prompt
    if prompt is None and isinstance(messages, list) and messages and all(map(_is_message, messages)):
        return messages
    raise BadInput(f'{place}: expected either "prompt", a string, or "messages" with role and content.')


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _build_grader(place: str, entry: Mapping[str, Any]) -> Grader:
    answers, pattern = _parse_answers(place, entry.get("answer")), _compile_regex(place, entry.get("regex"))
    choices = _parse_choices(place, entry.get("choices"))
    if not answers and pattern is None:
        raise BadInput(f'{place}: expected "answer" or "regex", got neither: add one, or give a scorer.')
    name = entry.get("grader") or _default_grader(answers, pattern, choices)
    if name not in GRADERS:
        raise BadInput(f"{place}: `grader` must be one of {', '.join(GRADERS)}, got {name!r}.")
    _validate_keys(place, entry, str(name))
    if name == "regex":
        assert pattern is not None
        return graders.build_regex(pattern, answers)
    if name == "choice":
        letters = [_find_letter(place, answer, choices) for answer in answers]
        return graders.build_choice(letters, choices, _last_letter(letters, choices))
    if name == "numeric":
        return graders.build_numeric(_validate_numbers(place, answers), _parse_tolerance(place, entry))
    if name == "exact":
        return graders.build_exact(answers)
    for answer in answers:
        if not graders.normalise_answer(str(answer)):
            raise BadInput(f"{place}: `answer` has nothing but punctuation, got {answer!r:.60}: use the grader exact.")
    return graders.build_normalised(answers) if name == "normalised" else graders.build_contains(answers)


def _default_grader(answers: Sequence[Answer], pattern: re.Pattern[str] | None, choices: Sequence[str]) -> str:
    if pattern is not None:
        return "regex"
    if choices or all(isinstance(answer, str) and _LETTER.fullmatch(answer.strip()) for answer in answers):
        return "choice"
    return "numeric" if all(graders.parse_number(answer) is not None for answer in answers) else "contains"


def _validate_keys(place: str, entry: Mapping[str, Any], name: str) -> None:
    """Check that the line has what its grader needs, and nothing that the grader would ignore."""
    if name == "regex" and entry.get("regex") is None:
        raise BadInput(f"{place}: the grader regex needs a `regex`: add one.")
    if name != "regex" and entry.get("answer") is None:
        raise BadInput(f"{place}: the grader {name} needs an `answer`: add one.")
    for key, owner in (("regex", "regex"), ("choices", "choice"), ("tolerance", "numeric")):
        if entry.get(key) is not None and name != owner:
            raise BadInput(f"{place}: the grader {name} takes no `{key}`: remove it, or write the grader {owner}.")


def _parse_answers(place: str, answer: object) -> list[Answer]:
    answers: list[Any] = answer if isinstance(answer, list) else [] if answer is None else [answer]
    if answer == []:
        raise BadInput(f"{place}: `answer` must have at least one accepted answer, got [].")
    for one in answers:
        if isinstance(one, bool) or not isinstance(one, str | int | float) or not _is_finite(one):
            raise BadInput(f"{place}: `answer` must be a string or a number, or a list of them, got {one!r:.60}.")
        if not str(one).strip():
            raise BadInput(f"{place}: `answer` must not be empty, got {one!r}.")
    return answers


def _is_finite(value: Answer) -> bool:
    try:
        return isinstance(value, str) or math.isfinite(value)
    except OverflowError:
        return False


def _validate_numbers(place: str, answers: Sequence[Answer]) -> Sequence[Answer]:
    for answer in answers:
        if graders.parse_number(answer) is None:
            raise BadInput(f"{place}: the grader numeric needs a number as `answer`, got {answer!r:.60}.")
    return answers


def _parse_tolerance(place: str, entry: Mapping[str, Any]) -> float:
    tolerance = 0.0 if entry.get("tolerance") is None else entry["tolerance"]
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise BadInput(f"{place}: `tolerance` must be a number of at least 0, got {tolerance!r:.60}.")
    return float(tolerance)


def _parse_choices(place: str, choices: object) -> list[str]:
    if choices is None:
        return []
    if not isinstance(choices, list) or not 2 <= len(choices) <= 26 or not all(isinstance(c, str) for c in choices):
        raise BadInput(f"{place}: `choices` must be a list of 2 to 26 strings, got {choices!r:.60}.")
    return choices


def _find_letter(place: str, answer: Answer, choices: Sequence[str]) -> str:
    """Return the letter of the right option, given as a letter, as the text of a choice, or as its index from 0."""
    if isinstance(answer, str) and answer in choices:
        return chr(ord("A") + choices.index(answer))
    if isinstance(answer, str) and _LETTER.fullmatch(answer.strip()):
        letter = answer.strip()
        if not choices or ord(letter) - ord("A") < len(choices):
            return letter
    if isinstance(answer, int) and 0 <= answer < len(choices):
        return chr(ord("A") + answer)
    options = "a letter, an index from 0 or one of the `choices`" if choices else "a capital letter"
    raise BadInput(f"{place}: the grader choice needs {options} as `answer`, got {answer!r:.60}.")


def _last_letter(letters: Sequence[str], choices: Sequence[str]) -> str:
    """Return the letter of the last option; without a list of choices there are at least A to E."""
    return chr(ord("A") + len(choices) - 1) if choices else max("E", *letters)


def _compile_regex(place: str, regex: object) -> re.Pattern[str] | None:
    if regex is None:
        return None
    if not isinstance(regex, str):
        raise BadInput(f"{place}: `regex` must be a string, got {regex!r}.")
    try:
        return re.compile(regex)
    except re.error as error:
        raise BadInput(f"{place}: `regex` is not a regular expression ({error}), got {regex!r}.") from error
