"""Limits on request bodies: declared and actual size, time, content type, and what becomes of an unread body."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Message, Receive

from heatbath.serve.errors import ApiError

RequestHeaders = Mapping[str, Sequence[str]]
"""All values of each header of a request, by its name in lower case."""

DISCARD_SECONDS = 10.0
"""Time during which the rest of an unread body is discarded before the connection ends."""

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(eq=False)
class BodyReceiver:
    """The `receive` of one request, which raises `ApiError` for a body that is too large or takes too long.

    Attributes:
        receive: the server's own `receive`.
        is_pending: whether a part of the body has not been received yet.
        max_bytes: largest size of the body.
        seconds: time for all of it, from the first read.
    """

    receive: Receive
    is_pending: bool
    max_bytes: int
    seconds: float
    num_bytes: int = 0
    deadline: float | None = None
    is_complete: bool = False

    async def __call__(self) -> Message:
        if self.is_complete:
            return await self.receive()
        self.deadline = self.deadline or asyncio.get_running_loop().time() + self.seconds
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.receive()
        except TimeoutError:
            text = f"the body did not arrive within {self.seconds:g} seconds: send it faster."
            raise ApiError(408, text, code="body_timeout", headers={"connection": "close"}) from None
        self.is_complete = not message.get("more_body", False)
        self.is_pending = self.is_pending and not self.is_complete
        self.num_bytes += len(message.get("body", b""))
        if self.num_bytes > self.max_bytes:
            raise too_large_error(f"{self.num_bytes} bytes or more", self.max_bytes)
        return message

    async def discard(self) -> None:
        """Receive the rest of the body, for a few seconds at most: a client that still sends reads no response."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while self.is_pending:
                    message = await self.receive()
                    self.is_pending = message.get("more_body", False)


def validate_body_headers(method: str, headers: RequestHeaders, max_bytes: int) -> None:
    """Raise `ApiError` for a body that the headers say will not be accepted: 400, 413 or 415."""
    declared = headers.get("content-length", ("0",))[0]
    if not declared.isascii() or not declared.isdigit():
        raise ApiError(400, "Content-Length is not a number: send the size in bytes.", code="invalid_content_length")
    if len(declared) > 18 or int(declared) > max_bytes:
        raise too_large_error(f"{declared[:20]} bytes", max_bytes)
    if method in BODY_METHODS and (int(declared) or headers.get("transfer-encoding", ("",))[0]):
        _validate_content_type(headers)


def too_large_error(size: str, max_bytes: int) -> ApiError:
    """Return the error of a body that is too large."""
    return ApiError(413, f"the body has {size}, more than {max_bytes}: send less.", code="body_too_large")


def _validate_content_type(headers: RequestHeaders) -> None:
    kind = headers.get("content-type", ("",))[0].partition(";")[0].strip().lower()
    if kind != "application/json":
        shown = repr(kind[:50]) if kind else "not given"
        message = f"the content type is {shown}: send application/json."
        raise ApiError(415, message, code="unsupported_media_type")
    coding = headers.get("content-encoding", ("identity",))[0].strip().lower() or "identity"
    if coding != "identity":
        message = f"the body is encoded as {coding[:50]!r}: send it without content encoding."
        raise ApiError(415, message, code="unsupported_encoding")
