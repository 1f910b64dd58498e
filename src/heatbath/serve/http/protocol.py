"""uvicorn's HTTP protocol with limits that it lacks: on the size of a request's head, and on clients that stall.

Responses that the protocol writes itself (to a request too malformed for the application) follow the error contract.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from heatbath.serve.errors import ApiError
from heatbath.serve.http.asgi import SECURITY_HEADERS
from heatbath.serve.http.middleware import generate_request_id
from heatbath.serve.http.write_timeout import WriteTimeout

MAX_URL_BYTES = 8 * 1024
MAX_HEADERS = 128
MAX_HEAD_BYTES = 64 * 1024
WEBSOCKET_PATHS = frozenset({b"/v1/responses"})
MAX_UNSENT_BYTES = 64 * 1024
"""Bytes that may wait in the kernel before the application has to wait."""

MALFORMED_ERROR = ApiError(400, "this is not a valid HTTP request: check its head.", code="malformed_request")
URL_TOO_LONG_ERROR = ApiError(
    414, f"the URL is longer than {MAX_URL_BYTES} bytes: send less of it.", code="uri_too_long"
)
HEADERS_TOO_LARGE_ERROR = ApiError(
    431,
    f"there are more than {MAX_HEADERS} headers or {MAX_HEAD_BYTES} bytes of them: send fewer.",
    code="headers_too_large",
)
NOT_A_PROXY_ERROR = ApiError(
    400, "the request names a whole URL and this server is not a proxy: send the path.", code="not_a_proxy"
)


class HeadRejected(Exception):
    """The head of a request is rejected; raised inside the parser, which turns it into its own error."""


def build_protocol(read_timeout: float, write_timeout: float) -> type[HttpToolsProtocol]:
    """Return the class of connections for uvicorn.

    Args:
        read_timeout: seconds from the connection, or from the first byte of a later request, to the end of the headers.
        write_timeout: seconds within which a client must read some of the bytes that wait for it.
    """
    return type(
        "BoundedProtocol", (BoundedHttpProtocol,), {"read_timeout": read_timeout, "write_timeout": write_timeout}
    )


class BoundedHttpProtocol(WriteTimeout, HttpToolsProtocol):
    """One connection. `in_head` holds also before the first byte, `in_body` from the headers to the message's end."""

    read_timeout: float
    rejection: ApiError = MALFORMED_ERROR
    num_messages: int = 0
    head_bytes: int = 0
    header_bytes: int = 0
    in_head: bool = True
    in_body: bool = False
    is_upgraded: bool = False
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(
            high=1
        )  # the kernel's buffer is enough; bytes that do not fit there are watched
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        self.cancel_stall_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        message_number = self.num_messages if self.in_head else None
        super().data_received(data)
        if self.is_upgraded or self.transport.is_closing() or not self.in_head:
            return
        if self.num_messages == message_number:
            self.head_bytes += len(data)
        if self.head_bytes > MAX_URL_BYTES + 2 * MAX_HEAD_BYTES:  # one endless line, which the parser does not report
            self.rejection = HEADERS_TOO_LARGE_ERROR
            self.send_400_response("")
        elif self.head_timer is None and self._is_response_complete:
            self._start_head_timer()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the protocol of WebSockets."""
        from heatbath.serve.http.websocket import build_websocket_protocol

        self.is_upgraded = True
        self._cancel_head_timer()
        self.ws_protocol_class = build_websocket_protocol(self.write_timeout)
        super().handle_websocket_upgrade()

    def _should_upgrade_to_ws(self) -> bool:
        """Upgrade where there is something to talk to; elsewhere the header is ignored, as HTTP allows."""
        path = self.url.partition(b"?")[0]
        return self.scope["method"] == "GET" and path in WEBSOCKET_PATHS and self._is_response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.num_messages += 1
        self.head_bytes = self.header_bytes = 0
        self._start_head_timer()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._reject(URL_TOO_LONG_ERROR)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self.header_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or self.header_bytes > MAX_HEAD_BYTES:
            self._reject(HEADERS_TOO_LARGE_ERROR)

    def on_headers_complete(self) -> None:
        self._cancel_head_timer()
        self.in_head, self.in_body = False, True
        if not self.url.startswith(b"/"):
            self._reject(NOT_A_PROXY_ERROR)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_head, self.in_body = True, False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.in_body and self._is_response_complete:  # the client has not sent all of the body by now
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Send the rejection, unless it could be taken for an earlier request's response, and close the connection."""
        if not self._is_response_complete and (self.cycle.response_started or not self.in_body):
            self.transport.abort()
            return
        self.transport.write(_encode_response(self.rejection, self.server_state.default_headers))
        self.transport.close()

    @property
    def _is_response_complete(self) -> bool:
        """True if no request waits for the rest of its response."""
        return self.cycle is None or self.cycle.response_complete

    def _reject(self, error: ApiError) -> None:
        self.rejection = error
        raise HeadRejected

    def _start_head_timer(self) -> None:
        self._cancel_head_timer()
        self.head_timer = self.loop.call_later(self.read_timeout, self._handle_head_timeout)

    def _handle_head_timeout(self) -> None:
        """Abort the connection, unless it is the server that reads nothing before an earlier response is complete."""
        if self._is_response_complete:
            self.transport.abort()
        else:
            self._start_head_timer()

    def _cancel_head_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


def _encode_response(error: ApiError, headers: list[tuple[bytes, bytes]]) -> bytes:
    body = json.dumps(error.body).encode()
    own = {b"content-type": b"application/json", b"content-length": str(len(body)).encode(), b"connection": b"close"}
    pairs = [*headers, *SECURITY_HEADERS.items(), *own.items(), (b"x-request-id", generate_request_id().encode())]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
    return STATUS_LINE[error.status] + lines + b"\r\n" + body
