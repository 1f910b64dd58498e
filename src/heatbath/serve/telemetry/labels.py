"""Label values. A value that is not listed becomes "other", so that no client can grow the set of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OTHER = "other"

ENDPOINTS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/chat/completions/{id}",
        "/v1/chat/completions/{id}/messages",
        "/v1/responses",
        "/v1/responses/compact",
        "/v1/responses/{id}",
        "/v1/responses/{id}/cancel",
        "/v1/responses/{id}/input_items",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/completions",
        "/v1/decisions",
        "/v1/outcomes",
        "/v1/embeddings",
        "/v1/models",
        "/v1/review",
        "/v1/review/{id}",
        "/v1/review/{id}/lock",
        "/v1/review/{id}/decision",
        "/v1/models/{name}",
        "/v1/prompts",
        "/v1/prompts/{name}",
        "/v1/prompts/{name}/render",
        "/tokenize",
        "/detokenize",
        "/v1/search",
        "/v1/rerank",
        "/rerank",
        "/v2/rerank",
        "/v1/score",
        "/score",
        "/v1/moderations",
        "/tokenizer_info",
        "/version",
        "/openapi.json",
    }
)

FINISH_REASONS = frozenset(
    {"stop", "length", "deadline", "cancelled", "tool_calls", "function_call", "content_filter", "error"}
)

STATUSES = frozenset(
    {200, 202, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431, 499, 500, 501, 503, 504, 507}
)

CODES = frozenset(
    {
        "already_decided",
        "body_timeout",
        "body_too_large",
        "client_gone",
        "content_filter",
        "context_length_exceeded",
        "cross_origin",
        "deadline_exceeded",
        "error",
        "headers_too_large",
        "host_not_allowed",
        "internal_error",
        "invalid_api_key",
        "invalid_content_length",
        "invalid_host",
        "invalid_json",
        "invalid_value",
        "item_not_found",
        "locked",
        "malformed_request",
        "method_not_allowed",
        "missing_required_parameter",
        "missing_scope",
        "model_error",
        "model_not_found",
        "not_a_proxy",
        "not_found",
        "not_installed",
        "previous_response_not_found",
        "queue_full",
        "rate_limit_exceeded",
        "too_many_viewers",
        "unavailable",
        "unreliable",
        "unsupported_encoding",
        "unsupported_media_type",
        "unsupported_parameter",
        "unsupported_value",
        "uri_too_long",
    }
)


@dataclass(frozen=True)
class Labels:
    """Converts values of requests to labels. `models` may be labels, the first is the engine's own; `aliases` count as
    the model they stand for.
    """

    models: Sequence[str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_model(self) -> str:
        """The model of the engine."""
        return self.models[0]

    def model(self, name: str) -> str:
        """Return the label of a model's name or alias."""
        resolved_name = self.aliases.get(name, name)
        return resolved_name if resolved_name in self.models else OTHER

    def endpoint(self, path: str) -> str:
        """Return the label of a route's path, with or without the slash before it; converters are left out."""
        full = "/" + path.strip("/").replace(":path}", "}")
        return full if full in ENDPOINTS else OTHER

    def status(self, status: int) -> str:
        """Return the label of an HTTP status, its class if the server does not send it on purpose."""
        if status in STATUSES:
            return str(status)
        return f"{status // 100}xx" if 100 <= status < 600 else OTHER

    def finish(self, reason: str) -> str:
        """Return the label of a finish reason."""
        return reason if reason in FINISH_REASONS else OTHER

    def code(self, code: str) -> str:
        """Return the label of an error's code."""
        return code if code in CODES else OTHER
