"""Small things the middleware shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Scope, Send

from heatbath.serve.errors import ApiError

EVENTS = b"text/event-stream"
JSON_TYPE = (b"content-type", b"application/json")


def values(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header; `name` in lower case."""
    return [value for key, value in scope["headers"] if key == name]


def value(scope: Scope, name: bytes) -> str | None:
    """The first value of a header, None if it is not there."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them."""
    return [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]


def event(error: ApiError) -> bytes:
    """The error inside a stream of events."""
    return b"data: " + json.dumps(error.body, ensure_ascii=False).encode() + b"\n\n"


async def answer(send: Send, error: ApiError) -> None:
    """A whole response that says what was wrong."""
    body = json.dumps(error.body, ensure_ascii=False).encode()
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": "http.response.start", "status": error.status, "headers": [JSON_TYPE, length, *encoded(error.headers)]}
    )
    await send({"type": "http.response.body", "body": body})


class Told:
    """A `send` that remembers what the client has been told: whether the answer began, ended, and is a stream."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.status: int | None = None
        self.stream = False
        self.over = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: Any = message.get("headers", [])
            self.stream = any(
                name == b"content-type" and kind.startswith(b"text/event-stream") for name, kind in headers
            )
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.over = True
        await self.send(message)

    async def error(self, error: ApiError) -> bool:
        """Say what was wrong in the way still open: a response, an event, or (False) none."""
        if self.over:
            return True
        if self.status is None:
            await answer(self, error)
            return True
        if self.stream:
            await self({"type": "http.response.body", "body": event(error), "more_body": False})
        return self.stream
