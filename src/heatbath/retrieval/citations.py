"""Citations of an answer: what it wrote, what each passage did to it, and what becomes of a part without support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from heatbath.errors import BadInput
from heatbath.retrieval.answer_units import AnswerUnit
from heatbath.retrieval.markers import Marker, Quote, find_markers, find_quotes
from heatbath.retrieval.passage import Passage
from heatbath.retrieval.support import Support

Unsupported = Literal["mark", "remove", "retry"]
"""What becomes of a part that no passage supports: it is marked, removed, or the answer is asked for once more."""

DEFAULT_THRESHOLD = 2.0
"""Nats from which a passage supports a part, where no file of a threshold says: e² times as probable with it."""


@dataclass(frozen=True)
class Citation:
    """A passage and a part of an answer.

    Attributes:
        number: that of the passage, as shown.
        support: free-energy drop of the part when the passage is removed, or all passages that repeat it are, nats.
        is_written: the part has a marker of the passage.
        is_supported: the support reaches the threshold.
    """

    number: int
    support: float
    is_written: bool
    is_supported: bool


@dataclass(frozen=True)
class Claim:
    """A part of an answer with its evidence.

    Attributes:
        start, end: its code points.
        logprob: log p of the part with all passages, nats.
        citations: passages that it cites or that support it.
        markers: written markers.
        quotes: quoted spans.
    """

    start: int
    end: int
    logprob: float
    citations: tuple[Citation, ...]
    markers: tuple[Marker, ...]
    quotes: tuple[Quote, ...]

    @property
    def is_supported(self) -> bool:
        """True if a passage supports it."""
        return any(citation.is_supported for citation in self.citations)

    @property
    def refused_citations(self) -> tuple[Citation, ...]:
        """Citations that were written and that nothing supports."""
        return tuple(each for each in self.citations if each.is_written and not each.is_supported)

    @property
    def unknown_references(self) -> tuple[str, ...]:
        """Names in markers under which nothing was shown."""
        return tuple(dict.fromkeys(part for marker in self.markers for part in marker.unknown))


@dataclass(frozen=True)
class PassageEvidence:
    """The passages of an answer, and the support by removals of some of them.

    Attributes:
        passages: as shown, from number 1 on.
        removals: numbers of passages that were removed together.
        support: of the parts by the removals.
    """

    passages: tuple[Passage, ...]
    removals: tuple[tuple[int, ...], ...]
    support: Support

    def support_of(self, unit: int, number: int) -> float:
        """Return the support of a part by a passage, or by those that repeat it where that is more."""
        return max(float(self.support.nats[unit, place]) for place, each in enumerate(self.removals) if number in each)


def list_removals(num_passages: int, repeats: Sequence[Sequence[int]] = ()) -> tuple[tuple[int, ...], ...]:
    """Return the removals to measure: each passage by itself, and each set of passages that repeat one another."""
    groups = dict.fromkeys(tuple(sorted(set(each))) for each in repeats)
    return (*((number,) for number in range(1, num_passages + 1)), *(each for each in groups if len(each) > 1))


def build_claims(
    text: str, units: Sequence[AnswerUnit], evidence: PassageEvidence, *, threshold: float = DEFAULT_THRESHOLD
) -> list[Claim]:
    """Return the claims of an answer, one for each part.

    Raises:
        BadInput: a threshold that is not above 0.
    """
    if not threshold > 0:
        raise BadInput(f"the threshold of support must be above 0 nats, got {threshold}.", param="threshold")
    markers = find_markers(text, len(evidence.passages))
    quotes = find_quotes(text, evidence.passages)
    claims = []
    for place, unit in enumerate(units):
        own = tuple(marker for marker in markers if unit.start <= marker.start < unit.end)
        written = {number for marker in own for number in marker.numbers}
        citations = []
        for number in range(1, len(evidence.passages) + 1):
            value = evidence.support_of(place, number)
            if number in written or value >= threshold:
                citations.append(Citation(number, value, number in written, value >= threshold))
        own_quotes = tuple(quote for quote in quotes if unit.start <= quote.start < unit.end)
        logprob = float(evidence.support.logprobs[place])
        claims.append(Claim(unit.start, unit.end, logprob, tuple(citations), own, own_quotes))
    return claims


def remove_unsupported(text: str, claims: Sequence[Claim]) -> tuple[str, list[Claim]]:
    """Return the answer without the claims that nothing supports, and the others at their new places."""
    parts: list[str] = []
    moved: list[Claim] = []
    length, end = 0, 0
    for claim in claims:
        if claim.is_supported:
            between = "" if not parts else "\n" if "\n" in text[end : claim.start] else " "
            moved.append(_move_claim(claim, length + len(between) - claim.start))
            parts += [between, text[claim.start : claim.end]]
            length += len(between) + claim.end - claim.start
            end = claim.end
    return "".join(parts), moved


def _move_claim(claim: Claim, by: int) -> Claim:
    return replace(
        claim,
        start=claim.start + by,
        end=claim.end + by,
        markers=tuple(replace(one, start=one.start + by, end=one.end + by) for one in claim.markers),
        quotes=tuple(replace(one, start=one.start + by, end=one.end + by) for one in claim.quotes),
    )
