r"""Graders: rules that decide whether a text gives the expected answer, and extract the answer that it gives.

Texts are compared after the normalisation of SQuAD (Rajpurkar et al. 2016): case, punctuation and articles do not
count.
`docs/prompts.md` describes every grader with examples.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Answer = str | int | float

_ARTICLES = frozenset(("a", "an", "the"))
_KEPT_PUNCTUATION = frozenset("#%&@")
_SCRIPTS_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_NUMBER = r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?"
_FRACTION = re.compile(rf"({_NUMBER})(?:\s*/\s*(\d+))?(?![\d])")
_FINAL_MARK = re.compile(r"####|\\boxed\s*\{")
_ANSWER_MARK = re.compile(r"\banswer(?:\s+is|\s*[:=])", re.IGNORECASE)
_DECIMAL_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_SENTENCE_END = re.compile(r"[.!?;](?:\s|$)|\n")
_CLOSE = 1e-6
"""Relative difference of two numbers that count as equal."""


def normalise_text(text: str) -> str:
    """Strip white space and fold case; comparisons and votes use this form of a text."""
    return text.strip().casefold()


def normalise_answer(text: str) -> str:
    """Return the words of a text without case, punctuation and articles, joined by single spaces.

    Hyphens, dashes and slashes separate words. Symbols such as +, $ and # stay, so that "C++" is not "C", and so do
    decimal points, so that "1.5" is not "15". A text that is nothing but articles keeps them.
    """
    words = _split_words(text)
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def _split_words(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\0", "")
    marked = _DECIMAL_POINT.sub("\0", folded)
    return "".join(map(_strip_character, marked)).replace("\0", ".").split()


def _strip_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Pd" or character in "/\u2212":
        return " "
    if character in _KEPT_PUNCTUATION:
        return character
    return "" if category.startswith("P") or category == "Sk" else character


def contains_answer(text: str, answer: str) -> bool:
    """Return true if the normalised text has the words of the normalised answer, in order and side by side."""
    words, wanted = normalise_answer(text), normalise_answer(answer)
    if _ARTICLES.issuperset(wanted.split()):
        words = " ".join(_split_words(text))
    if any(map(_has_no_spaces, wanted)):
        return wanted in words
    return f" {wanted} " in f" {words} "


def _has_no_spaces(character: str) -> bool:
    """Return true for a character of a script that writes words without spaces between them."""
    return unicodedata.name(character, "").startswith(_SCRIPTS_WITHOUT_SPACES)


def first_line(text: str) -> str:
    """Return the first line of a text that has words, normalised; the vote of a text without another answer."""
    return next((line for line in map(normalise_answer, text.splitlines()) if line), "")


def final_number(text: str) -> float | None:
    r"""Return the number that a text gives as its answer, or None.

    It is the first after the last "####" or "\boxed{"; without these the last in the sentence after the last "answer
    is" or "answer:"; else the last of the text.
    """
    marks = list(_FINAL_MARK.finditer(text))
    if marks and (numbers := _find_numbers(text[marks[-1].end() :])):
        return numbers[0]
    marks = list(_ANSWER_MARK.finditer(text))
    if marks and (numbers := _find_numbers(_SENTENCE_END.split(text[marks[-1].end() :].lstrip(), maxsplit=1)[0])):
        return numbers[-1]
    numbers = _find_numbers(text)
    return numbers[-1] if numbers else None


def parse_number(value: Answer) -> float | None:
    """Return a number, or a text that is one number and nothing else, as a float; None for other texts."""
    if not isinstance(value, str):
        return float(value)
    match = _FRACTION.fullmatch(value.strip().replace("\u2212", "-").lstrip("$€£").removesuffix("%"))
    return None if match is None else _to_number(match)


def _find_numbers(text: str) -> list[float]:
    found = map(_to_number, _FRACTION.finditer(text.replace("\u2212", "-")))
    return [number for number in found if number is not None]


def _to_number(match: re.Match[str]) -> float | None:
    value = float(match[1].replace(",", ""))
    if match[2] is None:
        return value
    return value / int(match[2]) if int(match[2]) else None


def chosen_letter(text: str, choices: Sequence[str], letters: str) -> str | None:
    """Return the letter of the option that a text chooses, or None.

    In this order: the letter after the last "answer is" or "answer:"; a letter at the start; the last letter in
    brackets; the only one of the options whose text occurs, where a longer option hides one that it contains; the only
    letter that stands alone (A and I are also words, and count only at the end or before a comma, "or", "is" and such).
    """
    letter = f"[{letters}]"
    for pattern in (
        rf"(?i:\banswer(?:\s+is|\s*[:=]))\s*(?i:option\s*)?\**[\[(]?({letter})(?![\w'])",
        rf"\A\s*\**[\[(]?({letter})(?:[\])]|[.:,](?=\s|\*|\Z)|\s*\Z|\s*\n|\*)",
        rf"[\[(]({letter})[\])]",
    ):
        if found := re.findall(pattern, text):
            return str(found[-1])
    named = [i for i, choice in enumerate(choices) if contains_answer(text, choice)]
    named = [i for i in named if not any(j != i and contains_answer(choices[j], choices[i]) for j in named)]
    if len(named) == 1:
        return letters[named[0]]
    alone = {one for one in re.findall(rf"(?<![\w'])({letter})(?![\w'])", text) if one not in "AI"}
    alone |= set(re.findall(rf"(?<![\w'])({letter})(?=[.!]?\s*\Z|[,;:/]|\s+(?:or|and|nor|is|are)\b)", text))
    return alone.pop() if len(alone) == 1 and not named else None


@dataclass(frozen=True)
class Grader:
    """A rule for one prompt: `is_right` judges a text, `vote` extracts the answer it gives; `expected` in words."""

    name: str
    expected: str
    is_right: Callable[[str], bool]
    vote: Callable[[str], str]


def build_exact(answers: Sequence[Answer]) -> Grader:
    """Build the grader for a text that is an answer to the letter, apart from white space around it."""
    wanted = {str(answer).strip() for answer in answers}
    return Grader("exact", _join(answers), lambda text: text.strip() in wanted, str.strip)


def build_normalised(answers: Sequence[Answer]) -> Grader:
    """Build the grader for a text that is an answer apart from case, punctuation, articles and white space."""
    wanted = {normalise_answer(str(answer)) for answer in answers}
    return Grader("normalised", _join(answers), lambda text: normalise_answer(text) in wanted, normalise_answer)


def build_contains(answers: Sequence[Answer]) -> Grader:
    """Build the grader for a text with the words of an answer; the vote is the first line."""
    wanted = list(map(str, answers))
    return Grader(
        "contains", _join(answers), lambda text: any(contains_answer(text, answer) for answer in wanted), first_line
    )


def build_numeric(answers: Sequence[Answer], tolerance: float = 0.0) -> Grader:
    """Build the grader for a text whose final number equals an answer to 1e-6 of it, or to `tolerance`."""
    wanted = [number for number in map(parse_number, answers) if number is not None]

    def is_right(text: str) -> bool:
        found = final_number(text)
        return found is not None and any(
            math.isclose(found, number, rel_tol=_CLOSE, abs_tol=tolerance) for number in wanted
        )

    def vote(text: str) -> str:
        found = final_number(text)
        return first_line(text) if found is None else _format_number(found)

    return Grader("numeric", _join(answers), is_right, vote)


def build_regex(pattern: re.Pattern[str], answers: Sequence[Answer]) -> Grader:
    """Build the grader for a text in which a pattern is found; with answers, what it finds must be one of them.

    What it finds is the first group, or the whole match.
    """

    def vote(text: str) -> str:
        match = pattern.search(text)
        return normalise_text(text if match is None else match[1 if pattern.groups else 0] or "")

    def is_right(text: str) -> bool:
        return pattern.search(text) is not None and (not answers or any(_equals(vote(text), one) for one in answers))

    return Grader("regex", _join(answers) or f"/{pattern.pattern}/", is_right, vote)


def build_choice(letters: Sequence[str], choices: Sequence[str], last: str) -> Grader:
    """Build the grader for a text that chooses one of `letters` from the options A to `last`."""
    options = "".join(chr(code) for code in range(ord("A"), ord(last) + 1))

    def vote(text: str) -> str:
        return chosen_letter(text, choices, options) or first_line(text)

    named = [f"{letter} ({choices[ord(letter) - ord('A')]})" if choices else letter for letter in letters]
    return Grader("choice", " or ".join(named), lambda text: vote(text) in letters, vote)


def _equals(found: str, answer: Answer) -> bool:
    if found == normalise_text(str(answer)):
        return True
    numbers = parse_number(found), parse_number(answer)
    return None not in numbers and math.isclose(*numbers, rel_tol=_CLOSE)  # type: ignore[arg-type]


def _join(answers: Sequence[Answer]) -> str:
    return " or ".join(map(str, answers))


def _format_number(number: float) -> str:
    return f"{number:.12g}"
