"""The OpenAI-compatible API.

A new endpoint is a handler in a file here, its types in `schema/`, its route in `routes` below, an entry in
`openapi.py`, and its label in `telemetry/labels.py`; a test compares the three lists. `tokenize.py` is a short example.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, WebSocketRoute


def routes() -> list[BaseRoute]:
    """Return the routes of the API."""
    from heatbath.serve.openai.chat import chat
    from heatbath.serve.openai.compatibility import moderations, version
    from heatbath.serve.openai.completions import completions
    from heatbath.serve.openai.decisions import decisions
    from heatbath.serve.openai.embeddings import embeddings
    from heatbath.serve.openai.messages import count_tokens, messages
    from heatbath.serve.openai.models import model, models
    from heatbath.serve.openai.openapi import openapi
    from heatbath.serve.openai.outcomes import label_outcome
    from heatbath.serve.openai.request_context import route
    from heatbath.serve.openai.response_creation import compact, responses
    from heatbath.serve.openai.response_socket import respond_over_socket
    from heatbath.serve.openai.scoring import rerank, score
    from heatbath.serve.openai.stored_completions import (
        delete_completion,
        list_completions,
        stored_completion,
        stored_messages,
        update_completion,
    )
    from heatbath.serve.openai.stored_responses import cancel_response, delete_response, input_items, stored_response
    from heatbath.serve.openai.tokenize import detokenize, tokenize, tokenizer_info

    return [
        route("/v1/chat/completions", POST=chat, GET=list_completions),
        route("/v1/chat/completions/{id}", GET=stored_completion, POST=update_completion, DELETE=delete_completion),
        route("/v1/chat/completions/{id}/messages", stored_messages, "GET"),
        route("/v1/responses", responses),
        WebSocketRoute("/v1/responses", respond_over_socket),
        route("/v1/responses/compact", compact),
        route("/v1/responses/{id}", GET=stored_response, DELETE=delete_response),
        route("/v1/responses/{id}/cancel", cancel_response),
        route("/v1/responses/{id}/input_items", input_items, "GET"),
        route("/v1/messages", messages),
        route("/v1/messages/count_tokens", count_tokens),
        route("/v1/completions", completions),
        route("/v1/embeddings", embeddings),
        route("/v1/decisions", decisions),
        route("/v1/outcomes", label_outcome),
        route("/v1/models", models, "GET"),
        route("/v1/models/{name:path}", model, "GET"),
        route("/tokenize", tokenize),
        route("/detokenize", detokenize),
        *(route(path, rerank) for path in ("/v1/rerank", "/rerank", "/v2/rerank")),
        *(route(path, score) for path in ("/v1/score", "/score")),
        route("/v1/moderations", moderations),
        route("/tokenizer_info", tokenizer_info, "GET"),
        route("/version", version, "GET"),
        route("/openapi.json", openapi, "GET"),
        *_stack_routes(),
    ]


def _stack_routes() -> list[BaseRoute]:
    """Return the routes of prompts, documents and reviews."""
    from heatbath.serve.openai.prompt_library import list_prompts, read_prompt, render
    from heatbath.serve.openai.request_context import route
    from heatbath.serve.openai.review import decide_review, held_answer, list_reviews, lock_review
    from heatbath.serve.openai.search import search

    return [
        route("/v1/prompts", list_prompts, "GET"),
        route("/v1/prompts/{name}", read_prompt, "GET"),
        route("/v1/prompts/{name}/render", render),
        route("/v1/search", search),
        route("/v1/review", list_reviews, "GET"),
        route("/v1/review/{id}", held_answer, "GET"),
        route("/v1/review/{id}/lock", lock_review),
        route("/v1/review/{id}/decision", decide_review),
    ]
