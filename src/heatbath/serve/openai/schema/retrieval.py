"""Retrieval: the options of a request that documents are searched for, and the search by itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Nats = Annotated[float, Meta(gt=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]
IndexName = Annotated[str, Meta(min_length=1, max_length=256)]
Query = Annotated[str, Meta(min_length=1, max_length=65536)]
Mode = Literal["hybrid", "bm25", "dense"]
MAX_PASSAGES = 32


class TriggerOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """A rule of when to search: `signal` of a first draft is beyond `threshold`, or at random at a `rate`."""

    kind: Literal["always", "never", "uncertainty", "random"]
    signal: Annotated[str, Meta(max_length=128)] | None = None
    threshold: Annotated[float, Meta(ge=-1e30, le=1e30)] | None = None
    rate: Share | None = None


class CitationOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """The parts of an answer whose support is measured, the support that counts, and what becomes of the others."""

    granularity: Literal["sentence", "paragraph", "answer"] = "sentence"
    threshold: Nats | None = None
    unsupported: Literal["mark", "remove", "retry"] = "mark"


class RetrievalOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """The search for documents.

    `contrast` is a in E_with + a (E_with - E_without); `citations` false leaves out the measurement of support.
    """

    index: IndexName | None = None
    query: Query | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_PASSAGES)] = 8
    filters: dict[str, Any] | None = None
    mode: Mode = "hybrid"
    trigger: Literal["always", "never"] | TriggerOptions = "always"
    citations: bool | CitationOptions = True
    contrast: Annotated[float, Meta(gt=0, le=100)] | None = None

    @property
    def citation_options(self) -> CitationOptions | None:
        """The options of citations, None where support is not measured."""
        if isinstance(self.citations, bool):
            return CitationOptions() if self.citations else None
        return self.citations

    @property
    def changes_answers(self) -> bool:
        """True if an answer may be replaced by another once it is whole."""
        options = self.citation_options
        is_uncertain = not isinstance(self.trigger, str) and self.trigger.kind == "uncertainty"
        return is_uncertain or (options is not None and options.unsupported != "mark")


class SearchRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    query: Query
    index: IndexName | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_PASSAGES)] = 8
    filters: dict[str, Any] | None = None
    mode: Mode = "hybrid"


class FoundPassage(Struct, kw_only=True):
    """A passage: code points `start` to `end` of a document whose text has the SHA-256 `content_hash`."""

    number: int
    id: str
    document: str
    title: str
    start: int
    end: int
    content_hash: str
    score: float
    text: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    bm25_rank: int | None = None
    dense_rank: int | None = None


class SearchResponse(Struct, kw_only=True):
    object: Literal["list"] = "list"
    index: str
    version: str
    data: list[FoundPassage]
