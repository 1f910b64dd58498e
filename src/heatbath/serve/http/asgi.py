"""ASGI messages: request headers by name, response headers, errors as responses, and the `send` of a request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Message, Scope, Send

from heatbath.errors import format_value
from heatbath.serve.errors import ApiError, message_error_body
from heatbath.serve.http.body_limits import BodyReceiver, RequestHeaders

EVENT_STREAM = b"text/event-stream"
_QUERY_LISTS = frozenset({"include"})
"""Parameters that clients repeat, once for each entry of a list."""
JSON_TYPE = (b"content-type", b"application/json")

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)

SECURITY_HEADERS = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""Headers that let a browser trust no other server, and let nobody cache a response."""


def read_headers(scope: Scope) -> RequestHeaders:
    """Return all values of each request header, by its name in lower case."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return headers


def read_query(query: QueryParams) -> dict[str, str]:
    """Return the parameters of a query, of lists such as `include` the last entry.

    Raises:
        ApiError: 400 for another parameter that is given twice.
    """
    names = [name for name, _ in query.multi_items() if name.partition("[")[0] not in _QUERY_LISTS]
    for name, count in Counter(names).items():
        if count > 1:
            message = f"the query gives {format_value(name)} {count} times: give it once."
            raise ApiError(400, message, code="invalid_value", param=name.partition("[")[0])
    return dict(query)


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI has them."""
    pairs = []
    for name, text in headers.items():
        pairs.append((name.lower().encode("latin-1"), text.encode("latin-1")))
    return pairs


def encode_error_event(error: ApiError) -> bytes:
    """Return the event that ends a stream with an error."""
    return b"data: " + json.dumps(error.body, ensure_ascii=False).encode() + b"\n\n"


def encode_message_error(error: ApiError, request_id: str) -> bytes:
    """Return the event that ends a stream in Anthropic's form with an error."""
    body = json.dumps(message_error_body(error, request_id), ensure_ascii=False).encode()
    return b"event: error\ndata: " + body + b"\n\n"


async def send_error(send: Send, error: ApiError, content: Mapping[str, object] | None = None) -> None:
    """Send an error as a complete response, with `content` where it is not in OpenAI's form."""
    body = json.dumps(content or error.body, ensure_ascii=False).encode()
    length = (b"content-length", str(len(body)).encode())
    headers = [JSON_TYPE, length, *encode_headers(error.headers)]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(eq=False)
class ResponseSender:
    """The `send` of one request: adds headers, remembers the state of the response, and discards an unread body.

    Attributes:
        send: the server's own `send`.
        body: the body of the request.
        state: `request.state`, whose `id` and `headers` go on the response.
        status: the status of the response, None before it has started.
        is_stream: whether the response is a stream of events.
        is_finished: whether its end has been sent.
        is_message: whether errors are in Anthropic's form.
    """

    send: Send
    body: BodyReceiver
    state: Mapping[str, Any]
    status: int | None = None
    is_stream: bool = False
    is_finished: bool = False
    is_message: bool = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._with_headers(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_finished = True
            # Not after 408: a body that came too slowly has been waited for already.
            if self.body.is_pending and self.status != 408:
                await self.send({**message, "more_body": True})
                await self.body.discard()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self.send(message)

    def _with_headers(self, message: Message) -> Message:
        """Add the headers of security that the handler has not set itself, the request's id, and those of its state."""
        self.status = message["status"]
        headers = list(message.get("headers", ()))
        names = dict(headers)
        self.is_stream = names.get(b"content-type", b"").startswith(EVENT_STREAM)
        for pair in SECURITY_HEADERS.items():
            if pair[0] not in names:
                headers.append(pair)
        headers.append((b"x-request-id", self.state["id"].encode()))
        if self.is_message:
            headers.append((b"request-id", self.state["id"].encode()))
        return {**message, "headers": headers + encode_headers(self.state["headers"])}

    async def report_error(self, error: ApiError) -> bool:
        """Send an error in the way that is still open, as a response or as an event; False if there is none."""
        if self.is_finished:
            return True
        if self.status is None:
            content = message_error_body(error, self.state["id"]) if self.is_message else None
            await send_error(self, error, content)
            return True
        if self.is_stream:
            event = encode_message_error(error, self.state["id"]) if self.is_message else encode_error_event(error)
            await self({"type": "http.response.body", "body": event, "more_body": False})
        return self.is_stream
