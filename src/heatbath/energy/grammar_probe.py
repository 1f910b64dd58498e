"""Trying a grammar as decoding would: compile it, search for a match, and compute masks along two walks."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from heatbath.energy.grammar import Grammar
from heatbath.energy.grammar_guard import GrammarVocabulary
from heatbath.energy.grammar_worker import Probe, WorkerSetup
from heatbath.energy.vocab_bytes import TokenBytesCache
from heatbath.errors import BadInput

_STEPS = 24


@dataclass(frozen=True)
class ProbedVocabulary:
    """The vocabulary that a process tries grammars with."""

    size: int
    stop_token_ids: Sequence[int]
    special_token_ids: Set[int]


def build_probe(setup: WorkerSetup) -> Probe:
    """Return the probe of grammars over the vocabulary of `setup`."""
    token_bytes = TokenBytesCache(setup.pieces.__getitem__, len(setup.pieces))
    vocabulary = ProbedVocabulary(len(setup.pieces), setup.stop_token_ids, setup.special_token_ids)

    def probe(grammar: str) -> None:
        probe_grammar(grammar, token_bytes, vocabulary)

    with suppress(BadInput):
        # Builds what all children share.
        probe("start: /[a-z]*/")
    return probe


def probe_grammar(grammar: str, token_bytes: Callable[[int], bytes], vocabulary: GrammarVocabulary) -> None:
    """Compile a grammar, search for a match, and compute the masks along two walks, as decoding would.

    Raises `BadInput` for a grammar that cannot be used. The walks follow the longest and the last tokens allowed.
    """
    field = Grammar(grammar, token_bytes, vocabulary, search=False)
    field.require_match(token_bytes)
    lengths = np.asarray([len(token_bytes(token)) for token in range(vocabulary.size)])
    for order in (lengths, np.arange(vocabulary.size)):
        prefix: list[int] = []
        for _ in range(_STEPS):
            bits = np.unpackbits(field.token_mask(prefix), bitorder="little")
            allowed = np.flatnonzero(bits[: vocabulary.size])
            if not allowed.size:
                break
            prefix.append(int(allowed[order[allowed].argmax()]))
