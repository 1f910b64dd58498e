"""Weighted context-free grammars as text, in the notation of NLTK, and their rules in binary form.

    S -> 'the ' N [0.6] | S ' and ' S [0.4]
    N -> 'cat' [0.5] | 'dog' [0.5]

The first symbol is the start, quoted texts are terminals, a weight in brackets follows an alternative (1 without one).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.energy.weighted_language import Floats, validate_weight
from heatbath.errors import BadInput

Symbol = str | bytes
"""A nonterminal, or the bytes of a terminal."""
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|\[\s*(?P<weight>[^\]\s]+)\s*\]|(?P<bar>\|)|"""
    r"""(?P<name>[^\W\d][\w/^<>-]*))"""
)


@dataclass(frozen=True)
class Rule:
    """A nonterminal and what it is replaced by, with a weight."""

    parent: str
    symbols: tuple[Symbol, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class BinaryRules:
    """The rules of a grammar whose right sides are empty, one byte, one nonterminal or two; nonterminals are numbers.

    Attributes:
        empty: weights of empty right sides, (N,).
        bytes: weights of each byte alone, (N,), by byte.
        single: weights of one nonterminal alone, (N, N).
        pairs: parent, left and right of two nonterminals, (R, 3), with `pair_weights` (R,).
        names: the nonterminals, the start first; those made for longer right sides are tuples of symbols.
    """

    empty: Floats
    bytes: dict[int, Floats]
    single: Floats
    pairs: npt.NDArray[np.int64]
    pair_weights: Floats
    names: tuple[Any, ...]


def parse_rules(text: str) -> list[Rule]:
    """Read the rules of a grammar. Raises `BadInput` with the number of a line that cannot be read."""
    rules: list[Rule] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        head, arrow, body = line.partition("->")
        if not arrow or not re.fullmatch(r"\s*[^\W\d][\w/^<>-]*\s*", head):
            raise BadInput(f"line {number} of the grammar is {line.strip()!r:.60}: write NAME -> SYMBOLS [WEIGHT] | ….")
        rules += _read_alternatives(head.strip(), body, number)
    if not rules:
        raise BadInput("the grammar has no rules: write NAME -> SYMBOLS [WEIGHT] | …, one line for each nonterminal.")
    _validate_names(rules)
    return rules


def _read_alternatives(parent: str, body: str, number: int) -> Iterator[Rule]:
    symbols: list[Symbol] = []
    weight: float | None = None
    at, body = 0, body.rstrip()
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None or (weight is not None and not match["bar"]):
            raise BadInput(f"line {number} of the grammar cannot be read at {body[at:].strip()!r:.40}.")
        at = match.end()
        if match["bar"]:
            yield Rule(parent, tuple(symbols), 1.0 if weight is None else weight)
            symbols, weight = [], None
        elif match["weight"]:
            weight = _read_weight(match["weight"], number)
        elif match["text"]:
            symbols.append(_read_text(match["text"], number))
        else:
            symbols.append(match["name"])
    yield Rule(parent, tuple(symbols), 1.0 if weight is None else weight)


def _read_text(quoted: str, number: int) -> bytes:
    try:
        return str(ast.literal_eval(quoted)).encode()
    except (SyntaxError, ValueError):
        raise BadInput(f"line {number} of the grammar has the text {quoted:.40}, which cannot be read.") from None


def _read_weight(text: str, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"line {number} of the grammar has the weight {text!r:.40}: give a number.") from None
    return validate_weight(value, f"a rule in line {number} of the grammar")


def _validate_names(rules: Sequence[Rule]) -> None:
    known = {rule.parent for rule in rules}
    for rule in rules:
        for symbol in rule.symbols:
            if isinstance(symbol, str) and symbol not in known:
                raise BadInput(f"the grammar uses {symbol!r}, which has no rule: add one, or quote it if it is text.")


def build_binary_rules(rules: Sequence[Rule]) -> BinaryRules:
    """Split the right sides of the rules that lead from the start to a text. Raises `BadInput` if none does."""
    return _BinaryRulesBuilder(_select_useful(rules)).build()


def _select_useful(rules: Sequence[Rule]) -> list[Rule]:
    """Select the rules of positive weight that can occur in the derivation of a text from the first symbol."""
    positive = [rule for rule in rules if rule.weight > 0]
    ending: set[Symbol] = set()
    while True:
        found = {r.parent for r in positive if all(isinstance(s, bytes) or s in ending for s in r.symbols)}
        if found <= ending:
            break
        ending |= found
    start = rules[0].parent
    if start not in ending:
        raise BadInput(f"the grammar has no text: no derivation from {start!r} ends.")
    positive = [r for r in positive if all(isinstance(s, bytes) or s in ending for s in r.symbols)]
    reached: set[Symbol] = {start}
    while True:
        found = {s for rule in positive if rule.parent in reached for s in rule.symbols if isinstance(s, str)}
        if found <= reached:
            return [rule for rule in positive if rule.parent in reached]
        reached |= found


class _BinaryRulesBuilder:
    """Splits right sides; equal rests share a nonterminal."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._numbers: dict[Any, int] = {}
        self._empty: dict[int, float] = {}
        self._bytes: dict[int, dict[int, float]] = {}
        self._single: dict[tuple[int, int], float] = {}
        self._pairs: dict[tuple[int, int, int], float] = {}
        for rule in rules:
            self._number(rule.parent)
        for rule in rules:
            symbols = tuple(part for symbol in rule.symbols for part in _split_terminal(symbol))
            self._add(self._number(rule.parent), symbols, rule.weight)

    def build(self) -> BinaryRules:
        size = len(self._numbers)
        empty, single = np.zeros(size), np.zeros((size, size))
        for number, weight in self._empty.items():
            empty[number] = weight
        for place, weight in self._single.items():
            single[place] = weight
        by_byte = {byte: np.zeros(size) for byte in self._bytes}
        for byte, entries in self._bytes.items():
            for number, weight in entries.items():
                by_byte[byte][number] = weight
        pairs = np.asarray(list(self._pairs), np.int64).reshape(-1, 3)
        weights = np.asarray(list(self._pairs.values()), np.float64)
        return BinaryRules(empty, by_byte, single, pairs, weights, tuple(self._numbers))

    def _number(self, name: Any) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _add(self, parent: int, symbols: tuple[Symbol, ...], weight: float) -> None:
        if not symbols:
            _increase(self._empty, parent, weight)
        elif len(symbols) > 1:
            pair = (parent, self._name_rest(symbols[:1]), self._name_rest(symbols[1:]))
            _increase(self._pairs, pair, weight)
        elif isinstance(symbols[0], bytes):
            _increase(self._bytes.setdefault(symbols[0][0], {}), parent, weight)
        else:
            _increase(self._single, (parent, self._number(symbols[0])), weight)

    def _name_rest(self, symbols: tuple[Symbol, ...]) -> int:
        """Return the nonterminal for a part of a right side."""
        if len(symbols) == 1 and isinstance(symbols[0], str):
            return self._number(symbols[0])
        is_new = symbols not in self._numbers
        number = self._number(symbols)
        if is_new:
            self._add(number, symbols, 1.0)
        return number


def _split_terminal(symbol: Symbol) -> list[Symbol]:
    return [symbol] if isinstance(symbol, str) else [bytes([byte]) for byte in symbol]


def _increase(table: dict[Any, float], key: Any, weight: float) -> None:
    table[key] = table.get(key, 0.0) + weight
