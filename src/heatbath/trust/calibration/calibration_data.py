"""Questions of a calibration: prompts with a grader, or answers with ready labels, from JSON lines or from a set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput
from heatbath.questions.scored_prompts import ScoredPrompt, ScoreFunction, parse_entry, read_entries
from heatbath.trust.calibration.model_judge import Judge
from heatbath.trust.calibration.question_sets import QUESTION_SETS, load_question_set
from heatbath.trust.calibration.signal_table import Ints
from heatbath.trust.calibration.splits import find_duplicates

RIGHT_SCORE = 1.0


@dataclass(frozen=True)
class CalibrationQuestion:
    """One question.

    Attributes:
        item: the prompt and the rule that grades an answer.
        group: the group that it is reported with; "" for none.
        response: an answer that is given, to be measured in place of one of the model; None to let the model answer.
        label: the label of that answer; None for a response that the rule grades.
    """

    item: ScoredPrompt
    group: str = ""
    response: str | None = None
    label: int | None = None

    def grade(self, text: str) -> int:
        """Return 1 for a right answer and 0 for a wrong one.

        Raises:
            BadInput: a function of the user's gave another score.
        """
        if self.label is not None:
            return self.label
        score = float(self.item.score(text))
        if score not in (0.0, RIGHT_SCORE):
            raise BadInput(
                f"{self.item.place}: a label must be 0 (wrong) or 1 (right), got the score {score:g} for "
                f"{text[:40]!r}: let the scorer return true or false."
            )
        return int(score)


@dataclass(frozen=True)
class CalibrationData:
    """Questions with the name of where they come from, and the SHA-256 of their contents."""

    name: str
    questions: tuple[CalibrationQuestion, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each question."""
        return tuple(question.group for question in self.questions)

    def find_units(self) -> Ints:
        """Return an integer per question, equal for duplicates and near duplicates."""
        return find_duplicates([_join_prompt(question.item) for question in self.questions])


def read_calibration_data(
    source: str | Path | Sequence[Mapping[str, Any]],
    *,
    scorer: ScoreFunction | None = None,
    judge: Judge | None = None,
    count: int | None = None,
) -> CalibrationData:
    """Read the questions of a calibration.

    Args:
        source: a file of JSON lines, the name of a question set such as "arithmetic" or "trivia:general", or the
            objects themselves. Every one has `prompt` or `messages`, with `answer`, `regex` and `grader` as in the
            prompts of a sweep, and may have a `group`. With `response` it is a ready answer, and with `label` (0 or 1)
            a graded one, which needs no accepted answers.
        scorer: a function of prompt and text that replaces the graders; it returns true or false.
        judge: a function of prompt, accepted answers in words, and text, such as `build_model_judge` returns, that
            decides in place of the graders.
        count: the number of questions to use of a set, which draws them at random with a fixed seed.

    Raises:
        BadInput: the source cannot be read, or a question is invalid; the message names its line.
    """
    data = _read_source(source, scorer, count)
    if judge is None:
        return data
    if scorer is not None:
        raise BadInput("a scorer and a judge both grade the answers: give one of them.")
    questions = tuple(_use_judge(question, judge) for question in data.questions)
    digest = hashlib.sha256(f"{data.digest} judge".encode()).hexdigest()
    return CalibrationData(data.name, questions, f"sha256:{digest}")


def _read_source(
    source: str | Path | Sequence[Mapping[str, Any]], scorer: ScoreFunction | None, count: int | None
) -> CalibrationData:
    if isinstance(source, str) and source.partition(":")[0] in QUESTION_SETS:
        entries = [(f"{source}, question {i}", one) for i, one in enumerate(load_question_set(source, count), 1)]
        return _build_data(source, entries, scorer)
    if isinstance(source, str | Path):
        return _build_data(Path(source).name, read_entries(source), scorer)
    return _build_data("objects", [(f"question {i}", dict(one)) for i, one in enumerate(source, 1)], scorer)


def _use_judge(question: CalibrationQuestion, judge: Judge) -> CalibrationQuestion:
    item = question.item
    score = partial(_apply_judge, judge, item)
    return replace(question, item=replace(item, score=score, grader="judge"))


def _apply_judge(judge: Judge, item: ScoredPrompt, text: str) -> bool:
    return judge(item.question, item.expected, text)


def _build_data(
    name: str, entries: Sequence[tuple[str, Mapping[str, Any]]], scorer: ScoreFunction | None
) -> CalibrationData:
    if not entries:
        raise BadInput("there are no questions: give at least one.")
    questions = tuple(_parse_question(place, entry, scorer) for place, entry in entries)
    judge = "" if scorer is None else f"{getattr(scorer, '__module__', '')}:{getattr(scorer, '__qualname__', scorer)}"
    total = hashlib.sha256(judge.encode())
    for _, entry in entries:
        total.update(json.dumps(entry, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n")
    return CalibrationData(name, questions, f"sha256:{total.hexdigest()}")


def _parse_question(place: str, entry: Mapping[str, Any], scorer: ScoreFunction | None) -> CalibrationQuestion:
    label, response = _parse_label(place, entry.get("label")), _parse_response(place, entry.get("response"))
    if label is not None and response is None:
        raise BadInput(f"{place}: a `label` is that of an answer: add the `response` that it grades.")
    group = entry.get("group", "")
    if not isinstance(group, str | int):
        raise BadInput(f"{place}: `group` must be a string, got {group!r:.60}.")
    ignore = None if label is None else (lambda prompt, text: 0.0)
    item = parse_entry(place, entry, scorer if label is None else ignore)
    return CalibrationQuestion(item, str(group), response, label)


def _parse_label(place: str, label: object) -> int | None:
    if label is None:
        return None
    if not isinstance(label, int | float) or label not in (0, 1):
        raise BadInput(f"{place}: a label must be 0 (wrong) or 1 (right), got {label!r:.60}.")
    return int(label)


def _parse_response(place: str, response: object) -> str | None:
    if response is None:
        return None
    if not isinstance(response, str) or not response.strip():
        raise BadInput(f"{place}: `response` must be an answer with at least one character, got {response!r:.60}.")
    return response


def _join_prompt(item: ScoredPrompt) -> str:
    if isinstance(item.prompt, str):
        return item.prompt
    return "\n".join(message["content"] for message in item.prompt)
