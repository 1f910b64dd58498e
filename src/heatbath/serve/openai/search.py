"""POST /v1/search: the passages that an index has for a query, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from heatbath.serve.errors import ApiError
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.retrieval import FoundPassage, RetrievalOptions, SearchRequest, SearchResponse

if TYPE_CHECKING:
    from heatbath.retrieval.passage import SearchHit
    from heatbath.serve.indexes import SearchResult, ServedIndexes


async def search(context: RequestContext) -> Response:
    """Search an index of the tenant."""
    body = await context.read_body(SearchRequest)
    indexes = require_indexes(context, "index")
    name = indexes.resolve_name(context.tenant.name, body.index, "index")
    result = await search_index(context, name, body.query, body)
    return context.json_response(
        SearchResponse(index=name, version=result.version, data=list_passages(result.hits, with_text=True))
    )


async def search_index(
    context: RequestContext, name: str, query: str, options: SearchRequest | RetrievalOptions
) -> SearchResult:
    """Return what an index has for a query, as the policy of the server lets it be used."""
    result = await require_indexes(context, "index").search(name, query, options)
    if context.services.policy is None:
        return result
    from heatbath.serve.openai.policy_input import open_gate, screen_passages

    texts = await screen_passages(open_gate(context), [hit.passage.text for hit in result.hits])
    hits = tuple(
        replace(hit, passage=replace(hit.passage, text=text))
        for hit, text in zip(result.hits, texts, strict=True)
        if text is not None
    )
    return replace(result, hits=hits)


def require_indexes(context: RequestContext, param: str) -> ServedIndexes:
    """Return the indexes of the server. Raises `ApiError`, 400, for a server without any."""
    indexes = context.services.indexes
    if indexes is None:
        message = f"{param} asks for a search and this server has no indexes: set retrieval.indexes, or leave it out."
        raise ApiError(400, message, code="invalid_value", param=param)
    return indexes


def list_passages(hits: Sequence[SearchHit], *, with_text: bool) -> list[FoundPassage]:
    """Return what was found, for a response; number n is the n-th."""
    found = []
    for number, hit in enumerate(hits, 1):
        passage = hit.passage
        found.append(
            FoundPassage(
                number=number,
                id=passage.id,
                document=passage.document,
                title=passage.title,
                start=passage.start,
                end=passage.end,
                content_hash=passage.content_hash,
                score=hit.score,
                text=passage.text if with_text else UNSET,
                metadata=dict(passage.metadata) if with_text else UNSET,
                bm25_rank=hit.bm25_rank,
                dense_rank=hit.dense_rank,
            )
        )
    return found


def describe_passages(hits: Sequence[SearchHit], *, with_text: bool) -> list[dict[str, Any]]:
    """Return what was found, ready for JSON."""
    described: list[dict[str, Any]] = msgspec.to_builtins(list_passages(hits, with_text=with_text))
    return described
