r"""Passages that repeat or contradict one another, seen by their energies.

After passage j the tokens of passage i have other energies than at the start of a document. Where i says what j says,
they become small: the share of the energy of i that j explains, $1 - E(i \mid j) / E(i)$, tends to 1. Where i otherwise
says the same and then something else in its place, the model expects what j says: the energy of that token is higher
after j than after i itself, $E(i_t \mid j, i_{<t}) - E(i_t \mid i, i_{<t}) > 0$. A passage after itself is the measure,
as the model does not expect every token of a copy either.

Only passages that share enough of their words are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from heatbath.models.base import Tokens
from heatbath.models.continuations import ContinuationScorer, build_continuation_tree
from heatbath.retrieval.passage import Passage
from heatbath.retrieval.support import Floats

MIN_SHARED_WORDS = 0.4
"""Share of the words of the shorter passage that the other one has too, from which two are compared."""
MIN_EXPLAINED = 0.5
MIN_RISE = 2.0
"""Nats by which a token must have more energy than in a copy for a contradiction."""
MAX_TOKENS = 128
"""Tokens of a passage that are compared."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class PassageRelation:
    """A passage that says what an earlier one says, or something else in its place; numbers as shown.

    Attributes:
        explained: the share of the energy of passage `second` that passage `first` explains.
        rise: the most by which the energy of one of its tokens after `first` is above that in a copy, nats.
        place: the first token with a rise of `MIN_RISE`, or with the most, by its number.
    """

    first: int
    second: int
    kind: Literal["repeats", "contradicts"]
    explained: float
    rise: float
    place: int


@dataclass(frozen=True)
class RelationRequest:
    """The energies that relations of passage `second` to the passages `firsts` are read from.

    `prompts` are the start of a document, the passage itself and each of `firsts`; `paths` are its beginnings.
    """

    second: int
    firsts: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...], ...]

    def read(self, logprobs: Floats) -> list[PassageRelation]:
        """Return the relations from log p of the paths after each prompt, (2 + firsts, tokens)."""
        alone, copied, *after_firsts = -np.diff(logprobs, axis=1, prepend=0.0)
        found = []
        for first, after in zip(self.firsts, after_firsts, strict=True):
            explained, rises = float(1 - after.sum() / alone.sum()), after - copied
            rise = float(rises.max())
            # After a change the model trusts the copy less, so that tokens behind it have more energy, too.
            place = int((rises >= min(rise, MIN_RISE)).argmax())
            if explained >= MIN_EXPLAINED:
                kind: Literal["repeats", "contradicts"] = "contradicts" if rise >= MIN_RISE else "repeats"
                found.append(PassageRelation(first, self.second, kind, explained, rise, place))
        return found


def build_relation_requests(
    passages: Sequence[Passage], encoded: Sequence[Tokens], start: Tokens
) -> list[RelationRequest]:
    """Return the requests for passages that share their words with an earlier one.

    `encoded` are the tokens of each passage as a fragment of a document, `start` those that begin one.
    """
    words = [frozenset(_WORD.findall(passage.text.casefold())) for passage in passages]
    requests = []
    for second in range(1, len(passages)):
        firsts = [first for first in range(second) if _share_words(words[first], words[second])]
        tokens = tuple(map(int, encoded[second]))[:MAX_TOKENS]
        if firsts and tokens:
            prompts = [tuple(map(int, start)), *((*start, *map(int, encoded[i])) for i in (second, *firsts))]
            paths = tuple(tokens[:end] for end in range(1, len(tokens) + 1))
            numbers = tuple(first + 1 for first in firsts)
            requests.append(RelationRequest(second + 1, numbers, tuple(prompts), paths))
    return requests


def _share_words(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= MIN_SHARED_WORDS * max(1, min(len(one), len(other)))


def measure_relations(scorer: ContinuationScorer, requests: Sequence[RelationRequest]) -> list[PassageRelation]:
    """Measure relations by a scorer of a model."""
    found = []
    for request in requests:
        scores = scorer.score(request.prompts, build_continuation_tree(request.paths))
        found += request.read(scores.logprobs)
    return found


def group_repeats(relations: Sequence[PassageRelation]) -> list[tuple[int, ...]]:
    """Return sets of passages that repeat one another, directly or through others."""
    groups: list[set[int]] = []
    for one, other in _iterate_pairs(relations):
        joined = [group for group in groups if one in group or other in group]
        groups = [group for group in groups if group not in joined] + [{one, other}.union(*joined)]
    return [tuple(sorted(group)) for group in groups]


def _iterate_pairs(relations: Sequence[PassageRelation]) -> Iterator[tuple[int, int]]:
    for relation in relations:
        if relation.kind == "repeats":
            yield relation.first, relation.second
