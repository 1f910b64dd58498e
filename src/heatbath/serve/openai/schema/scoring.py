"""Scores of texts and of documents: requests as vLLM, Cohere and Jina have them, and responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from heatbath.serve.openai.schema.response_bodies import Usage
from heatbath.serve.openai.schema.sampling import Note

MAX_PAIRS = 1024

ModelName = Annotated[str, Meta(min_length=1, max_length=512)]
Texts = str | Annotated[list[str], Meta(min_length=1, max_length=MAX_PAIRS)]
Query = Annotated[str, Meta(min_length=1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class ScoreOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """The unit of a score, and whether it is divided by the number of scored tokens."""

    unit: Literal["nats", "bits"] = "nats"
    per_token: bool = False


class ScoreRequest(Struct, kw_only=True):
    """Pairs of texts: one with each of several, or several with as many. `queries` and `documents` are newer names."""

    model: ModelName | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    priority: Priority | None = None
    user: Note | None = None
    thermo: ScoreOptions | None = None


class ScoreThermo(Struct, kw_only=True, omit_defaults=True):
    """The log-probability of the scored tokens at T = 1, their number, and the posterior among the documents."""

    logprob: float
    bits: float
    tokens: int
    posterior: float | None = None


class ScoreItem(Struct, kw_only=True):
    index: int
    object: Literal["score"] = "score"
    score: float
    thermo: ScoreThermo | UnsetType = UNSET


class ScoreList(Struct, kw_only=True):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreItem]
    usage: Usage


class DocumentText(Struct):
    text: str


class RerankRequest(Struct, kw_only=True):
    """Documents to rank by a query. `top_n` of 0 is all of them, as in vLLM."""

    model: ModelName | None = None
    query: Query
    documents: Annotated[list[str | DocumentText], Meta(min_length=1, max_length=MAX_PAIRS)]
    top_n: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    priority: Priority | None = None
    user: Note | None = None
    thermo: ScoreOptions | None = None


class RankedDocument(Struct, kw_only=True):
    index: int
    relevance_score: float
    document: DocumentText | UnsetType = UNSET
    thermo: ScoreThermo | UnsetType = UNSET


class Ranking(Struct, kw_only=True):
    """A ranking with the fields of vLLM, Jina (`usage`) and Cohere (`meta`)."""

    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[RankedDocument]
    usage: Usage
    meta: dict[str, Any]
