"""What a request may bring: JSON, of so many bytes, within so many seconds; and what becomes of the rest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heatbath.serve.errors import ApiError
from heatbath.serve.http.asgi import header_value

LINGER_SECONDS = 10.0
"""How long the rest of a body nobody wants is thrown away before the connection ends."""
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True)
class BodyLimitMiddleware:
    """`most` bytes in `seconds`."""

    app: ASGIApp
    max_bytes: int
    seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.validate_headers(scope)
        await self.app(scope, BodyReceiver(receive, self), send)

    def validate_headers(self, scope: Scope) -> None:
        """Raises `ApiError`: 413 or 415, by what the headers say."""
        declared = header_value(scope, b"content-length") or "0"
        if not declared.isascii() or not declared.isdigit():
            raise ApiError(400, "Content-Length is no number: send the size in bytes.", code="invalid_content_length")
        if len(declared) > 18 or int(declared) > self.max_bytes:
            raise self.too_large_error(f"{declared[:20]} bytes")
        if scope["method"] in BODY_METHODS and (int(declared) or header_value(scope, b"transfer-encoding")):
            _validate_content_type(scope)

    def too_large_error(self, size: str) -> ApiError:
        """413."""
        return ApiError(413, f"the body has {size}, more than {self.max_bytes}: send less.", code="body_too_large")


class BodyReceiver:
    """A `receive` that counts, and gives up when the body takes too long; after the body it only waits."""

    def __init__(self, receive: Receive, limits: BodyLimitMiddleware) -> None:
        self.receive = receive
        self.limits = limits
        self.num_bytes = 0
        self.deadline: float | None = None
        self.is_complete = False

    async def __call__(self) -> Message:
        if self.is_complete:
            return await self.receive()
        message = await self._receive_before_deadline()
        self.num_bytes += len(message.get("body", b""))
        if self.num_bytes > self.limits.max_bytes:
            raise self.limits.too_large_error(f"{self.num_bytes} bytes or more")
        self.is_complete = not message.get("more_body", False)
        return message

    async def _receive_before_deadline(self) -> Message:
        loop = asyncio.get_running_loop()
        self.deadline = self.deadline or loop.time() + self.limits.seconds
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self.receive()
        except TimeoutError:
            message = f"the body did not come within {self.limits.seconds:g} seconds: send it faster."
            raise ApiError(408, message, code="body_timeout", headers={"connection": "close"}) from None


@dataclass(frozen=True)
class BodyDiscardMiddleware:
    """Takes in what is left of a body when the answer is out: a client that still sends would not get to see it.

    Not after 408, which was waited for already.
    """

    app: ASGIApp
    seconds: float = LINGER_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            return await self.app(scope, receive, send)
        rest, late = True, False

        async def noted() -> Message:
            nonlocal rest
            message = await receive()
            rest = message.get("more_body", False)
            return message

        async def held(message: Message) -> None:
            nonlocal late
            late = late or message.get("status") == 408
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if late or not rest or not last:
                return await send(message)
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    while rest:
                        await noted()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app(scope, noted, held)


def _has_body(scope: Scope) -> bool:
    return header_value(scope, b"transfer-encoding") is not None or header_value(scope, b"content-length") not in (
        None,
        "0",
    )


def _validate_content_type(scope: Scope) -> None:
    kind = (header_value(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        shown = repr(kind[:50]) if kind else "not given"
        message = f"the content type is {shown}: send application/json."
        raise ApiError(415, message, code="unsupported_media_type")
    coding = (header_value(scope, b"content-encoding") or "identity").strip().lower()
    if coding != "identity":
        message = f"the body is encoded as {coding[:50]!r}: send it as it is."
        raise ApiError(415, message, code="unsupported_encoding")
