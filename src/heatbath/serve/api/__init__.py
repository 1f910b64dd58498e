"""The OpenAI-compatible API."""

from __future__ import annotations

from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """The routes of the API."""
    from heatbath.serve.api.chat import chat
    from heatbath.serve.api.completions import completions
    from heatbath.serve.api.decisions import decisions
    from heatbath.serve.api.embeddings import embeddings
    from heatbath.serve.api.models import model, models
    from heatbath.serve.api.openapi import openapi
    from heatbath.serve.api.routing import route
    from heatbath.serve.api.stored import stored
    from heatbath.serve.api.tokens import detokenize, tokenize

    return [
        route("/v1/chat/completions", chat),
        route("/v1/chat/completions/{id}", stored, "GET"),
        route("/v1/completions", completions),
        route("/v1/embeddings", embeddings),
        route("/v1/decisions", decisions),
        route("/v1/models", models, "GET"),
        route("/v1/models/{name:path}", model, "GET"),
        route("/tokenize", tokenize),
        route("/detokenize", detokenize),
        route("/openapi.json", openapi, "GET"),
    ]
