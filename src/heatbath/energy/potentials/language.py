"""Potentials from weighted languages: finite automata and context-free grammars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import Floats
from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.energy.spec import BuildContext, Spec
from heatbath.energy.weighted_automaton import WeightedAutomaton
from heatbath.energy.weighted_grammar import WeightedGrammar
from heatbath.energy.weighted_language import WeightedLanguage

_MEMO_SIZE = 512
_MAX_REQUEST_ARCS, _MAX_REQUEST_BYTES = 512, 512


class LanguageWeight(Potential):
    r"""$-\log w(x)$ nats for a completion with the text x, (B,); +inf for a weight of 0.

    The energy of a prefix is minus the log of the summed weights of all texts that begin with it, so that a
    population is guided towards likely completions. Texts are read as bytes: tokens may end within a character.
    Completions with control tokens, which have no text, are forbidden.

    With normalized weights w is a probability, and the target is the product of the model with that distribution.
    """

    scores_prefixes = True

    def __init__(
        self,
        language: WeightedLanguage[Any],
        token_bytes: Callable[[int], bytes],
        *,
        special_token_ids: Collection[int] = (),
        name: str = "language",
    ) -> None:
        self.language, self.name = language, name
        self._token_bytes, self._special = token_bytes, frozenset(special_token_ids)
        self._states: PrefixMemo[Any] = PrefixMemo(language.start(), self._extend, size=_MEMO_SIZE)

    def __call__(self, context: Context) -> Floats:
        return np.asarray(
            [self._energy(context.completion(row), context.is_finished(row)) for row in range(len(context))]
        )

    def _energy(self, tokens: Sequence[int], is_finished: bool) -> float:
        state = self._states(tokens)
        if state is None:
            return np.inf
        return -(self.language.log_weight(state) if is_finished else self.language.log_prefix_weight(state))

    def _extend(self, state: Any, tokens: Sequence[int]) -> Any:
        """Return the state after more tokens; None after a control token or for a prefix that no text begins with."""
        if state is None or not self._special.isdisjoint(tokens):
            return None
        state = self.language.extend(state, b"".join(self._token_bytes(token) for token in tokens))
        return None if self.language.log_prefix_weight(state) == -np.inf else state


def _build_automaton(
    context: BuildContext,
    text: str | None = None,
    *,
    arcs: Sequence[Any] = (),
    final: Mapping[str, float] | Sequence[Any] = (),
    start: Mapping[str, float] | Any = 0,
) -> Potential:
    automaton = WeightedAutomaton(arcs, final, start) if text is None else WeightedAutomaton.from_att(str(text))
    return _build_weight(automaton, context, "automaton")


def _build_grammar(context: BuildContext, text: str) -> Potential:
    return _build_weight(WeightedGrammar(str(text)), context, "cfg")


def _build_weight(language: WeightedLanguage[Any], context: BuildContext, name: str) -> Potential:
    special = context.model.vocabulary.special_token_ids
    return LanguageWeight(language, context.token_bytes, special_token_ids=special, name=name)


def _limit_request(value: Any) -> str | None:
    """Return a sentence for an automaton that is too large for a request: its setup takes dense matrices of states."""
    arcs = value.get("arcs", ()) if isinstance(value, dict) else str(value).splitlines()
    if not isinstance(arcs, list | tuple):
        return None
    if len(arcs) > _MAX_REQUEST_ARCS:
        return f"has {len(arcs)} arcs: give at most {_MAX_REQUEST_ARCS}."
    size = sum(len(str(arc[1]).encode()) for arc in arcs if isinstance(arc, list | tuple) and len(arc) > 1)
    size = size or len(str(value).encode()) // 8
    return f"has labels of {size} bytes: give at most {_MAX_REQUEST_BYTES}." if size > _MAX_REQUEST_BYTES else None


SPECS = (
    Spec(
        "automaton",
        "potential",
        _build_automaton,
        '{"arcs": [[0, "yes", 1, 0.7], [0, "no", 1, 0.3]], "final": [1]} or @file',
        order=12,
        request_limit=_limit_request,
    ),
    # Its time grows with the cube of the length of a text, which a request could make long.
    Spec("cfg", "potential", _build_grammar, "\"S -> 'a' S [0.5] | 'b' [0.5]\" or @file", order=14, offered=False),
)
