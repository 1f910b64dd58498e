"""GET /openapi.json: what can be asked here and what is answered, written from the same structs that check it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from heatbath.serve.api.call import Call
from heatbath.serve.api.schema.answers import ChatCompletion, Completion
from heatbath.serve.api.schema.chat import ChatRequest
from heatbath.serve.api.schema.completions import CompletionRequest
from heatbath.serve.api.schema.decisions import Decision, DecisionRequest
from heatbath.serve.api.schema.models import (
    Card,
    Cards,
    Detokenized,
    DetokenizeRequest,
    EmbeddingRequest,
    Embeddings,
    Tokenized,
    TokenizeRequest,
)
from heatbath.serve.settings import LimitSettings

_POSTS: dict[str, tuple[type, type, bool]] = {
    "/v1/chat/completions": (ChatRequest, ChatCompletion, True),
    "/v1/completions": (CompletionRequest, Completion, True),
    "/v1/embeddings": (EmbeddingRequest, Embeddings, False),
    "/v1/decisions": (DecisionRequest, Decision, False),
    "/tokenize": (TokenizeRequest, Tokenized, False),
    "/detokenize": (DetokenizeRequest, Detokenized, False),
}
_GETS: dict[str, tuple[type, tuple[str, ...]]] = {
    "/v1/models": (Cards, ()),
    "/v1/models/{name}": (Card, ("name",)),
    "/v1/chat/completions/{id}": (ChatCompletion, ("id",)),
}
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
_PIECES = 30_522
"""Word pieces of the embedding model."""


async def openapi(call: Call) -> Response:
    """The description of the API."""
    return call.answer(description(call.language.vocabulary.size, call.services.settings.limits))


def description(size: int, limits: LimitSettings) -> dict[str, Any]:
    """OpenAPI 3.1, for a vocabulary of `size` and the server's limits."""
    every = [part for request, answer, _ in _POSTS.values() for part in (request, answer)]
    every += [answer for answer, _ in _GETS.values()]
    _, components = msgspec.json.schema_components(every, ref_template="#/components/schemas/{name}")
    _widened(components, size)
    _limited(components, limits)
    paths: dict[str, Any] = {}
    for path, (request, answer, streams) in _POSTS.items():
        paths.setdefault(path, {})["post"] = _post(request, answer, streams)
    for path, (answer, names) in _GETS.items():
        paths.setdefault(path, {})["get"] = _get(answer, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "heatbath", "version": "1", "description": "The OpenAI API, with every decision weighed."},
        "paths": paths,
        "components": {"schemas": {**components, "Error": _error()}},
    }


def _widened(components: dict[str, Any], size: int) -> None:
    """Where one list may hold several kinds, but not mixed, the structs alone do not say so."""
    components["CompletionRequest"]["properties"]["prompt"] = _texts(size)
    components["EmbeddingRequest"]["properties"]["input"] = _texts(_PIECES)
    components["DetokenizeRequest"]["properties"]["tokens"] = _ids(size)


def _limited(components: dict[str, Any], limits: LimitSettings) -> None:
    """What this server allows, where it is less than what the structs do."""
    most = {"type": ["integer", "null"], "minimum": 0, "maximum": limits.max_tokens, "default": None}
    for name in ("ChatRequest", "CompletionRequest"):
        properties = components[name]["properties"]
        for field in {"max_tokens", "max_completion_tokens"} & properties.keys():
            properties[field] = most
        properties["n"] = {"type": ["integer", "null"], "minimum": 1, "maximum": limits.max_n, "default": None}


def _ids(size: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": size - 1}}


def _texts(size: int) -> dict[str, Any]:
    """A text, texts, token ids, or lists of them."""
    ids = _ids(size)
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {
        "anyOf": [{"type": "string"}, texts, {**ids, "minItems": 1}, {"type": "array", "items": ids, "minItems": 1}]
    }


def _post(request: type, answer: type, streams: bool) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": _ref(request)}}}
    return {"operationId": _verb(request), "requestBody": body, "responses": _responses(answer, streams)}


def _get(answer: type, names: tuple[str, ...]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]
    verb = f"get{answer.__name__}"
    return {"operationId": verb, "parameters": parameters, "responses": _responses(answer, False)}


def _responses(answer: type, streams: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _ref(answer)}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {status: {"description": text, "content": error} for status, text in _ERRORS.items()}
    return {"200": {"description": "The answer.", "content": content}, **errors}


def _verb(request: type) -> str:
    return "create" + request.__name__.removesuffix("Request")


def _ref(type: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{type.__name__}"}


def _error() -> dict[str, Any]:
    text, none = {"type": "string"}, {"type": ["string", "null"]}
    inner = {
        "type": "object",
        "properties": {"message": text, "type": text, "param": none, "code": none},
        "required": ["message", "type", "param", "code"],
    }
    return {"type": "object", "properties": {"error": inner}, "required": ["error"]}
