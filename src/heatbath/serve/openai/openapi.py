"""GET /openapi.json: the description of the API, from the structs that validate requests and encode responses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.decisions import Decision, DecisionRequest
from heatbath.serve.openai.schema.messages import CountTokensRequest, MessageRequest, MessageResponse, TokenCount
from heatbath.serve.openai.schema.models import (
    DetokenizeRequest,
    DetokenizeResponse,
    EmbeddingList,
    EmbeddingRequest,
    ModelList,
    ModelObject,
    ModerationRequest,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
    Version,
)
from heatbath.serve.openai.schema.outcomes import Outcome, OutcomeRequest
from heatbath.serve.openai.schema.prompt_templates import PromptList, PromptObject, PromptRendering, RenderRequest
from heatbath.serve.openai.schema.response_bodies import ChatCompletion, TextCompletion
from heatbath.serve.openai.schema.response_objects import (
    CallOutput,
    CompactedResponse,
    CompactionItem,
    CompactRequest,
    DeletedResponse,
    InputCall,
    InputMessage,
    ItemList,
    ItemReference,
    ReasoningItem,
    ResponseObject,
    ResponseRequest,
)
from heatbath.serve.openai.schema.retrieval import SearchRequest, SearchResponse
from heatbath.serve.openai.schema.review import (
    ReviewDecisionRequest,
    ReviewEntry,
    ReviewHandle,
    ReviewList,
    ReviewLockRequest,
)
from heatbath.serve.openai.schema.scoring import Ranking, RerankRequest, ScoreList, ScoreRequest
from heatbath.serve.openai.schema.stored_completions import (
    CompletionList,
    DeletedCompletion,
    MessageList,
    MetadataUpdate,
)
from heatbath.serve.settings import LimitSettings

_POSTS: dict[str, tuple[type, type, bool]] = {
    "/v1/chat/completions": (ChatRequest, ChatCompletion, True),
    "/v1/messages": (MessageRequest, MessageResponse, True),
    "/v1/messages/count_tokens": (CountTokensRequest, TokenCount, False),
    "/v1/completions": (CompletionRequest, TextCompletion, True),
    "/v1/chat/completions/{id}": (MetadataUpdate, ChatCompletion, False),
    "/v1/responses": (ResponseRequest, ResponseObject, True),
    "/v1/responses/compact": (CompactRequest, CompactedResponse, False),
    "/v1/embeddings": (EmbeddingRequest, EmbeddingList, False),
    "/v1/decisions": (DecisionRequest, Decision, False),
    "/v1/outcomes": (OutcomeRequest, Outcome, False),
    "/v1/search": (SearchRequest, SearchResponse, False),
    "/v1/review/{id}/lock": (ReviewLockRequest, ReviewEntry, False),
    "/v1/review/{id}/decision": (ReviewDecisionRequest, ReviewEntry, False),
    "/v1/rerank": (RerankRequest, Ranking, False),
    "/v1/score": (ScoreRequest, ScoreList, False),
    "/v1/moderations": (ModerationRequest, ModerationRequest, False),
    "/v1/prompts/{name}/render": (RenderRequest, PromptRendering, False),
    "/tokenize": (TokenizeRequest, TokenizeResponse, False),
    "/detokenize": (DetokenizeRequest, DetokenizeResponse, False),
}
_GETS: dict[str, tuple[type, tuple[str, ...]]] = {
    "/tokenizer_info": (TokenizerInfo, ()),
    "/version": (Version, ()),
    "/v1/models": (ModelList, ()),
    "/v1/models/{name}": (ModelObject, ()),
    "/v1/prompts": (PromptList, ()),
    "/v1/prompts/{name}": (PromptObject, ()),
    "/v1/chat/completions": (CompletionList, ("limit", "after", "order", "model", "metadata")),
    "/v1/chat/completions/{id}": (ChatCompletion, ()),
    "/v1/chat/completions/{id}/messages": (MessageList, ("limit", "after", "order")),
    "/v1/review": (ReviewList, ("status", "limit", "offset", "id", "tenant", "model", "rule", "action", "random")),
    "/v1/review/{id}": (ReviewHandle, ("wait",)),
    "/v1/responses/{id}": (ResponseObject, ()),
    "/v1/responses/{id}/input_items": (ItemList, ("limit", "after", "order")),
}
"""The response of each path, and the parameters of its query."""
_DELETES: dict[str, type] = {
    "/v1/chat/completions/{id}": DeletedCompletion,
    "/v1/responses/{id}": DeletedResponse,
}
_CANCELS: dict[str, type] = {"/v1/responses/{id}/cancel": ResponseObject}
"""Posts without a body."""
_QUERY: dict[str, dict[str, Any]] = {
    "limit": {"schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    "after": {"schema": {"type": "string"}},
    "order": {"schema": {"type": "string", "enum": ["asc", "desc"]}},
    "status": {"schema": {"type": "string", "enum": ["pending", "decided"], "default": "pending"}},
    "offset": {"schema": {"type": "integer", "minimum": 0, "default": 0}},
    "id": {"schema": {"type": "string"}},
    "tenant": {"schema": {"type": "string"}},
    "rule": {"schema": {"type": "string"}},
    "action": {"schema": {"type": "string", "enum": ["approve", "edit", "reject"]}},
    "random": {"schema": {"type": "boolean"}},
    "wait": {"schema": {"type": "number", "minimum": 0, "maximum": 60, "default": 0}},
    "model": {"schema": {"type": "string"}},
    "metadata": {
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        "style": "deepObject",
        "explode": True,
    },
}
_ALIASES = {"/rerank": "/v1/rerank", "/v2/rerank": "/v1/rerank", "/score": "/v1/score"}
_PROBES = ("/health", "/health/live", "/health/ready", "/ping")
_ERRORS = {
    "400": "The request cannot be answered as it is: param names the field.",
    "401": "No key, or one that is not known.",
    "403": "The key does not reach so far.",
    "404": "There is no such model or answer.",
    "405": "This path does not take that method.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is no JSON by its content type.",
    "422": "An estimate asked for rests on too little.",
    "429": "Too much at once: retry-after says when to come back.",
    "431": "The headers are too large.",
    "500": "The model or the server failed.",
    "501": "An optional part is not installed.",
    "503": "Starting, stopping, or a part is down: retry-after says when to come back.",
    "504": "It took longer than allowed.",
}
_ITEMS: tuple[type, ...] = (InputMessage, InputCall, CallOutput, ReasoningItem, CompactionItem, ItemReference)
_EMBEDDING_VOCABULARY = 30_522
"""The size of the vocabulary of the embedding model."""


async def openapi(context: RequestContext) -> Response:
    """Return the description of the API."""
    return context.json_response(build_description(context.language.vocabulary.size, context.services.settings.limits))


def build_description(size: int, limits: LimitSettings) -> dict[str, Any]:
    """Return OpenAPI 3.1, for a vocabulary of `size` and the server's limits."""
    every = [part for request, answer, _ in _POSTS.values() for part in (request, answer)]
    every += [answer for answer, _ in _GETS.values()] + [*_DELETES.values(), *_ITEMS]
    _, components = msgspec.json.schema_components(every, ref_template="#/components/schemas/{name}")
    _describe_unions(components, size)
    _describe_limits(components, limits)
    paths: dict[str, Any] = {}
    for path, (request, answer, streams) in _POSTS.items():
        paths.setdefault(path, {})["post"] = _post_operation(path, request, answer, streams=streams)
    for path, (answer, query) in _GETS.items():
        paths.setdefault(path, {})["get"] = _operation("get", path, answer, query)
    for path, answer in _DELETES.items():
        paths.setdefault(path, {})["delete"] = _operation("delete", path, answer)
    for path, answer in _CANCELS.items():
        paths.setdefault(path, {})["post"] = _operation("cancel", path, answer)
    _describe_reviews(paths)
    _describe_other_paths(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "heatbath", "version": "1", "description": "The OpenAI API, with every decision weighed."},
        "paths": paths,
        "components": {"schemas": {**components, "Error": _error_schema(), "MessageError": _message_error_schema()}},
    }


def _describe_reviews(paths: dict[str, Any]) -> None:
    """Describe that a held answer has the form of its endpoint once it is released, and conflicts of reviewers."""
    responses = paths["/v1/review/{id}"]["get"]["responses"]
    responses["202"] = {**responses["200"], "description": "Nobody has decided yet."}
    forms = [_reference(form) for form in (ChatCompletion, TextCompletion, ResponseObject, MessageResponse)]
    responses["200"] = {"description": "The answer.", "content": {"application/json": {"schema": {"anyOf": forms}}}}
    for path in ("/v1/review/{id}/lock", "/v1/review/{id}/decision"):
        errors = paths[path]["post"]["responses"]
        errors["409"] = {**errors["404"], "description": "It is decided, or another reviewer has it."}


def _describe_other_paths(paths: dict[str, Any]) -> None:
    """Add other names of paths and the probes of health; take out the response of a path that has none."""
    for alias, path in _ALIASES.items():
        paths[alias] = {verb: _rename_operation(operation, alias) for verb, operation in paths[path].items()}
    del paths["/v1/moderations"]["post"]["responses"]["200"]
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        for status in _ERRORS:
            content = {"application/json": {"schema": {"$ref": "#/components/schemas/MessageError"}}}
            paths[path]["post"]["responses"][status] = {"description": _ERRORS[status], "content": content}
    health = {"application/json": {"schema": {"type": "object"}}}
    states = {
        "200": {"description": "Requests can be served.", "content": health},
        "503": {"description": "They cannot: the body names the part that is down.", "content": health},
    }
    refusals = {status: paths["/version"]["get"]["responses"][status] for status in ("400", "405", "413", "415")}
    for path in _PROBES:
        operation = {"operationId": "getHealth", "responses": {**states, **refusals}}
        paths[path] = {"get": _rename_operation(operation, path)}
    paths["/ping"]["post"] = _rename_operation(operation, "/ping/post")


def _rename_operation(operation: dict[str, Any], path: str) -> dict[str, Any]:
    """Return an operation with the name of another path."""
    suffix = "".join(part.capitalize() for part in path.strip("/").split("/"))
    return {**operation, "operationId": operation["operationId"] + suffix}


def _describe_unions(components: dict[str, Any], size: int) -> None:
    """Describe lists that may hold several types, but not mixed, which the structs cannot say."""
    components["CompletionRequest"]["properties"]["prompt"] = _texts_schema(size)
    components["EmbeddingRequest"]["properties"]["input"] = _texts_schema(_EMBEDDING_VOCABULARY)
    components["DetokenizeRequest"]["properties"]["tokens"] = _ids_schema(size)
    items = {"type": "array", "items": {"anyOf": [_reference(item) for item in _ITEMS]}}
    for name in ("ResponseRequest", "CompactRequest"):
        components[name]["properties"]["input"] = {"anyOf": [{"type": "string"}, items]}


def _describe_limits(components: dict[str, Any], limits: LimitSettings) -> None:
    """Describe the limits of this server where they are below those of the structs."""
    most = {"type": ["integer", "null"], "minimum": 0, "maximum": limits.max_tokens, "default": None}
    for name in ("ChatRequest", "CompletionRequest", "ResponseRequest"):
        properties = components[name]["properties"]
        for field in {"max_tokens", "max_completion_tokens", "max_output_tokens"} & properties.keys():
            properties[field] = most
        properties["n"] = {"type": ["integer", "null"], "minimum": 1, "maximum": limits.max_n, "default": None}


def _ids_schema(size: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": size - 1}}


def _texts_schema(size: int) -> dict[str, Any]:
    """Return the schema of a text, texts, token ids, or lists of them."""
    ids = _ids_schema(size)
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {
        "anyOf": [{"type": "string"}, texts, {**ids, "minItems": 1}, {"type": "array", "items": ids, "minItems": 1}]
    }


def _post_operation(path: str, request: type, answer: type, *, streams: bool) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": _reference(request)}}}
    operation = _operation("create", path, answer, streams=streams)
    return {**operation, "operationId": _operation_id(request), "requestBody": body}


def _operation(
    verb: str, path: str, answer: type, query: Sequence[str] = (), *, streams: bool = False
) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in re.findall(r"{(\w+)}", path)
    ]
    parameters += [{"name": name, "in": "query", **_QUERY[name]} for name in query]
    described = {"parameters": parameters} if parameters else {}
    return {"operationId": f"{verb}{answer.__name__}", **described, "responses": _responses(answer, streams)}


def _responses(answer: type, streams: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _reference(answer)}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {status: {"description": text, "content": error} for status, text in _ERRORS.items()}
    return {"200": {"description": "The answer.", "content": content}, **errors}


def _operation_id(request: type) -> str:
    return "create" + request.__name__.removesuffix("Request")


def _reference(type: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{type.__name__}"}


def _error_schema() -> dict[str, Any]:
    text, none = {"type": "string"}, {"type": ["string", "null"]}
    inner = {
        "type": "object",
        "properties": {"message": text, "type": text, "param": none, "code": none},
        "required": ["message", "type", "param", "code"],
    }
    return {"type": "object", "properties": {"error": inner}, "required": ["error"]}


def _message_error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    inner = {"type": "object", "properties": {"type": text, "message": text}, "required": ["type", "message"]}
    properties = {"type": {"const": "error"}, "error": inner, "request_id": text}
    return {"type": "object", "properties": properties, "required": ["type", "error", "request_id"]}
