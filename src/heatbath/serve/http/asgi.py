"""Small things the middleware shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Scope, Send

from heatbath.serve.errors import ApiError

EVENT_STREAM = b"text/event-stream"
JSON_TYPE = (b"content-type", b"application/json")


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header; `name` in lower case."""
    return [value for key, value in scope["headers"] if key == name]


def header_value(scope: Scope, name: bytes) -> str | None:
    """The first value of a header, None if it is not there."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them."""
    return [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]


def encode_error_event(error: ApiError) -> bytes:
    """The error inside a stream of events."""
    return b"data: " + json.dumps(error.body, ensure_ascii=False).encode() + b"\n\n"


async def send_error(send: Send, error: ApiError) -> None:
    """A whole response that says what was wrong."""
    body = json.dumps(error.body, ensure_ascii=False).encode()
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [JSON_TYPE, length, *encode_headers(error.headers)],
        }
    )
    await send({"type": "http.response.body", "body": body})


class ResponseTracker:
    """A `send` that remembers what the client has been told: whether the answer began, ended, and is a stream."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.status: int | None = None
        self.is_stream = False
        self.is_finished = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: Any = message.get("headers", [])
            self.is_stream = any(
                name == b"content-type" and kind.startswith(b"text/event-stream") for name, kind in headers
            )
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_finished = True
        await self.send(message)

    async def report_error(self, error: ApiError) -> bool:
        """Say what was wrong in the way still open: a response, an event, or (False) none."""
        if self.is_finished:
            return True
        if self.status is None:
            await send_error(self, error)
            return True
        if self.is_stream:
            await self({"type": "http.response.body", "body": encode_error_event(error), "more_body": False})
        return self.is_stream
