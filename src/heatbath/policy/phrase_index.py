"""All phrases of a policy, found in one pass over a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import regex

from heatbath.errors import MissingExtra
from heatbath.policy.normalization import Span, TextView, normalize_phrase

_WORD = regex.compile(r"[\w\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]", regex.V1)
"""A character that continues a word, in scripts that put spaces between words."""


class PhraseIndex:
    """The automaton of the phrases of all rules.

    Linear in the length of a text, whatever the number of phrases.
    Source: Aho and Corasick 1975, doi:10.1145/360825.360855.
    """

    def __init__(self, phrases: Iterable[tuple[str, int, bool]]) -> None:
        """Build it from (phrase, number of its rule, whether it has to be whole words). Raises `MissingExtra`."""
        try:
            from ahocorasick import Automaton
        except ImportError as error:
            raise MissingExtra("matching phrases", "policy") from error
        owners: dict[str, list[tuple[int, bool]]] = {}
        for phrase, rule, whole_words in phrases:
            owners.setdefault(normalize_phrase(phrase), []).append((rule, whole_words))
        self._automaton = Automaton()
        for normal, entries in owners.items():
            self._automaton.add_word(normal, (len(normal), tuple(dict.fromkeys(entries))))
        self._automaton.make_automaton()
        self._is_empty = not owners

    def find(self, views: Iterable[TextView]) -> Mapping[int, list[Span]]:
        """Return the spans of each rule in the original, by the number of the rule."""
        found: dict[int, list[Span]] = {}
        if self._is_empty:
            return found
        for view in views:
            for rule, span in self._find_in(view.lower_case):
                found.setdefault(rule, []).append(span)
        return found

    def _find_in(self, view: TextView) -> Iterator[tuple[int, Span]]:
        text = view.text
        for last, (length, entries) in self._automaton.iter(text):
            start, end = last + 1 - length, last + 1
            is_whole: bool | None = None
            for rule, whole_words in entries:
                if whole_words and is_whole is None:
                    is_whole = not (_joins(text, start) or _joins(text, end))
                if is_whole or not whole_words:
                    yield rule, view.original_span(start, end)


def _joins(text: str, place: int) -> bool:
    """Return True if the characters before and after a place belong to one word."""
    return 0 < place < len(text) and _continues_word(text[place - 1]) and _continues_word(text[place])


@lru_cache(4096)
def _continues_word(character: str) -> bool:
    return _WORD.match(character) is not None
