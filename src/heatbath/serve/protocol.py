"""uvicorn's HTTP protocol with what it leaves open: bounds on the head of a request, and on clients that stand still.

A response written by the protocol itself (a request too broken for the application) keeps to the error contract.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from heatbath.serve.errors import ApiError
from heatbath.serve.middleware.ids import new_id
from heatbath.serve.middleware.security import ALWAYS

MOST_URL = 8 * 1024
MOST_HEADERS = 128
MOST_HEAD = 64 * 1024
UNSENT = 64 * 1024
"""Bytes that the kernel may hold before the application is made to wait."""

MALFORMED = ApiError(400, "this is no HTTP request heatbath understands: check its head.", code="malformed_request")
LONG_URL = ApiError(414, f"the URL is longer than {MOST_URL} bytes: send less of it.", code="uri_too_long")
MANY_HEADERS = ApiError(
    431,
    f"there are more than {MOST_HEADERS} headers or {MOST_HEAD} bytes of them: send fewer.",
    code="headers_too_large",
)
ABSOLUTE = ApiError(400, "the request names a whole URL and this is no proxy: send the path.", code="not_a_proxy")


class Refused(Exception):
    """The head cannot be taken; raised inside the parser, which turns it into its own error."""


def protocol(read_timeout: float, write_timeout: float) -> type[HttpToolsProtocol]:
    """The class uvicorn makes connections of.

    `read_timeout`: seconds from the connection, or from the first byte of a later request, to the end of the headers.
    `write_timeout`: seconds in which a client must take something of what waits for it.
    """
    return type("BoundedProtocol", (Guarded,), {"read_timeout": read_timeout, "write_timeout": write_timeout})


class Guarded(HttpToolsProtocol):
    """One connection. `in_head` also while nothing has come yet, `in_body` from the headers to the message's end."""

    read_timeout: float
    write_timeout: float
    refusal: ApiError = MALFORMED
    begun: int = 0
    raw: int = 0
    fields: int = 0
    in_head: bool = True
    in_body: bool = False
    waiting: asyncio.TimerHandle | None = None
    stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1)  # the kernel's buffer is enough; what does not fit there is watched
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self.waiting, self.stalled):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        begun = self.begun if self.in_head else None
        super().data_received(data)
        if self.transport.is_closing() or not self.in_head:
            return
        if self.begun == begun:
            self.raw += len(data)
        if self.raw > MOST_URL + 2 * MOST_HEAD:  # one endless line, which the parser keeps to itself
            self.refusal = MANY_HEADERS
            self.send_400_response("")
        elif self.waiting is None and self._answered:
            self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.begun += 1
        self.raw = self.fields = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MOST_URL:
            self._refuse(LONG_URL)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self.fields += len(name) + len(value)
        if len(self.headers) > MOST_HEADERS or self.fields > MOST_HEAD:
            self._refuse(MANY_HEADERS)

    def on_headers_complete(self) -> None:
        self._cancel_waiting()
        self.in_head, self.in_body = False, True
        if not self.url.startswith(b"/"):
            self._refuse(ABSOLUTE)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_head, self.in_body = True, False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.in_body and self._answered:  # whoever has not sent the body by now may keep it
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stalled is not None:
            self.stalled.cancel()
            self.stalled = None

    def send_400_response(self, msg: str) -> None:
        """The refusal, if it cannot be taken for the answer to an earlier request, and the end of the connection."""
        if not self._answered and (self.cycle.response_started or not self.in_body):
            self.transport.abort()
            return
        self.transport.write(_response(self.refusal, self.server_state.default_headers))
        self.transport.close()

    @property
    def _answered(self) -> bool:
        """Whether no request waits for the rest of its answer."""
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, error: ApiError) -> None:
        self.refusal = error
        raise Refused

    def _await_head(self) -> None:
        self._cancel_waiting()
        self.waiting = self.loop.call_later(self.read_timeout, self._late)

    def _late(self) -> None:
        """The head did not come, unless it is us who do not read before an earlier answer is out."""
        if self._answered:
            self.transport.abort()
        else:
            self._await_head()

    def _cancel_waiting(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _watch(self, unsent: int) -> None:
        """Drop a client that has taken none of `unsent` bytes when the time is up."""
        self.stalled = self.loop.call_later(self.write_timeout, self._stalled, unsent)

    def _stalled(self, unsent: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < unsent:
            self._watch(now)
        else:
            self.transport.abort()


def _response(error: ApiError, headers: list[tuple[bytes, bytes]]) -> bytes:
    body = json.dumps(error.body).encode()
    own = {b"content-type": b"application/json", b"content-length": str(len(body)).encode(), b"connection": b"close"}
    pairs = [*headers, *ALWAYS.items(), *own.items(), (b"x-request-id", new_id().encode())]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
    return STATUS_LINE[error.status] + lines + b"\r\n" + body
