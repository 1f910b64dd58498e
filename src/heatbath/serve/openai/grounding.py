"""The grounds of a choice: its claims with their measured support, as `thermo`, annotations and stored record."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from heatbath.retrieval.citations import Citation, Claim
from heatbath.retrieval.passage import Passage
from heatbath.serve.openai.schema.response_bodies import Annotation, UrlCitation


@dataclass(frozen=True)
class Grounding:
    """The claims of a choice.

    Attributes:
        passages: as shown, from number 1 on.
        index: name of the index, `version` the digest of its content.
        threshold: support that counts, nats.
        granularity: the parts that are claims.
    """

    claims: tuple[Claim, ...]
    passages: tuple[Passage, ...]
    index: str
    version: str
    threshold: float
    granularity: str

    @cached_property
    def thermo(self) -> dict[str, Any]:
        """The claims, for `thermo` and the record."""
        return {
            "claims": [self._describe_claim(claim) for claim in self.claims],
            "support": {"threshold": self.threshold, "granularity": self.granularity, "unit": "nats"},
        }

    @cached_property
    def url_annotations(self) -> list[Annotation]:
        """Supported citations in the form of chat completions."""
        found = []
        for passage, start, end in self._iterate_places():
            url = passage_url(passage)
            found.append(
                Annotation(url_citation=UrlCitation(start_index=start, end_index=end, title=passage.title, url=url))
            )
        return found

    @cached_property
    def file_annotations(self) -> list[dict[str, Any]]:
        """Supported citations in the form of responses."""
        return [
            {"type": "file_citation", "file_id": passage.id, "filename": passage.document, "index": end}
            for passage, _, end in self._iterate_places()
        ]

    def _iterate_places(self) -> Iterator[tuple[Passage, int, int]]:
        """Yield passages that support a claim, with the code points of its marker, or of the claim without one."""
        for claim in self.claims:
            for citation in claim.citations:
                if citation.is_supported:
                    written = [one for one in claim.markers if citation.number in one.numbers]
                    places = [(one.start, one.end) for one in written] or [(claim.start, claim.end)]
                    for start, end in places:
                        yield self.passages[citation.number - 1], start, end

    def _describe_claim(self, claim: Claim) -> dict[str, Any]:
        return {
            "start": claim.start,
            "end": claim.end,
            "logprob": finite(claim.logprob),
            "supported": claim.is_supported,
            "citations": [self._describe_citation(citation) for citation in claim.citations],
            "unknown": list(claim.unknown_references),
            "quotes": [{"start": one.start, "end": one.end, "passages": list(one.passages)} for one in claim.quotes],
        }

    def _describe_citation(self, citation: Citation) -> dict[str, Any]:
        passage = self.passages[citation.number - 1]
        return {
            "number": citation.number,
            "support": finite(citation.support),
            "written": citation.is_written,
            "supported": citation.is_supported,
            "document": passage.document,
            "passage": passage.id,
            "content_hash": passage.content_hash,
            "index": self.index,
            "version": self.version,
        }


def passage_url(passage: Passage) -> str:
    """Return the address of a passage: that of its document, or its path, with the characters by RFC 5147."""
    address = passage.metadata.get("url")
    return f"{address if isinstance(address, str) else passage.document}#char={passage.start},{passage.end}"


def finite(value: float) -> float:
    """Return a number that JSON can hold."""
    return max(-sys.float_info.max, min(sys.float_info.max, 0.0 if math.isnan(value) else value))
