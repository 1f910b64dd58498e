"""Responses over WebSocket: every message `response.create` is handled as a request over HTTP, its events as messages.

Form: Open Responses 2026-04-24, "WebSocket transport". One response runs at a time; messages that come meanwhile wait.
The connection keeps its latest response, which the next may continue though it is not stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import Message, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.http.asgi import EVENT_STREAM, read_headers, send_error
from heatbath.serve.http.auth import authenticate
from heatbath.serve.http.host_check import validate_host
from heatbath.serve.openai.request_context import encode_json
from heatbath.serve.openai.stored_responses import LATEST_RESPONSE
from heatbath.serve.services import Services

MAX_WAITING = 4
"""Messages that may wait while a response runs."""
MAX_IDLE_SECONDS = 3600.0
"""Seconds after which a connection without a message is closed."""

_CREATE = "response.create"
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013
_FORWARDED_HEADERS = frozenset({b"authorization", b"x-api-key", b"host", b"origin", b"user-agent", b"traceparent"})
_KEPT_SCOPE = frozenset({"asgi", "http_version", "server", "client", "root_path", "path"})
_FAILED = frozenset({"error", "response.failed"})

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


async def respond_over_socket(websocket: WebSocket) -> None:
    """Accept a client that may send requests, and respond to its messages until it goes."""
    try:
        _validate_handshake(websocket)
    except ApiError as error:
        await _refuse_handshake(websocket, error)
        return
    await websocket.accept()
    connection = ResponseConnection(websocket)
    reading = asyncio.create_task(connection.read())
    try:
        await connection.respond()
    except (WebSocketDisconnect, OSError):
        pass
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@dataclass(eq=False)
class ResponseConnection:
    """The messages of one connection that wait, and its latest response by its id.

    Attributes:
        close_code: why the connection is to be closed, None where it is the client that has gone.
    """

    websocket: WebSocket
    waiting: asyncio.Queue[str | bytes | None] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    latest: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    close_code: int | None = None

    async def read(self) -> None:
        """Read messages until the client has gone, or sends more than may wait; the work ends with the client."""
        try:
            while self.waiting.qsize() <= MAX_WAITING:
                message = await self.websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                self.waiting.put_nowait(message.get("text") or message.get("bytes") or b"")
            self.close_code = _POLICY_VIOLATION
        finally:
            self.gone.set()
            self.waiting.put_nowait(None)

    async def respond(self) -> None:
        """Respond to one message after another.

        Raises:
            WebSocketDisconnect, OSError: the client has gone.
        """
        while (message := await self._next_message()) is not None:
            try:
                names = _read_message(message)
            except ApiError as error:
                await self.send_error(error)
            else:
                await self._respond_to(names)
        if self.close_code is not None:
            await self.websocket.close(self.close_code)

    async def send_error(self, error: ApiError) -> None:
        """Send an error as an event."""
        await self.send_error_body(error.status, error.body)

    async def send_error_body(self, status: int, body: Mapping[str, Any]) -> None:
        """Send the body of an error of HTTP as an event."""
        event = {"type": "error", "status": status, **body}
        await self.websocket.send_text(encode_json(event).decode())

    async def _next_message(self) -> str | bytes | None:
        """Return the next message; None once the client has gone or says nothing for too long."""
        try:
            async with asyncio.timeout(MAX_IDLE_SECONDS):
                message = await self.waiting.get()
        except TimeoutError:
            self.close_code = _TRY_AGAIN_LATER
            return None
        return None if self.gone.is_set() else message

    async def _respond_to(self, names: Mapping[str, msgspec.Raw]) -> None:
        """Handle a message as a request over HTTP; a response that cannot be continued is forgotten."""
        request = SocketRequest(self, encode_json({**names, "stream": True}))
        await self.websocket.app(request.build_scope(), request.receive, request.send)
        if request.has_failed:
            self.latest.pop(_read_text(names.get("previous_response_id")), None)


@dataclass(eq=False)
class SocketRequest:
    """One message as a request over HTTP: the application's `receive`, and its `send`, which writes messages."""

    connection: ResponseConnection
    body: bytes
    status: int = 200
    is_stream: bool = False
    is_sent: bool = False
    has_failed: bool = False
    unsent: bytes = b""

    def build_scope(self) -> Scope:
        """Return the scope of the request, whose application is that of the connection."""
        outer = self.connection.websocket.scope
        headers = [pair for pair in outer["headers"] if pair[0] in _FORWARDED_HEADERS]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        kept = {name: value for name, value in outer.items() if name in _KEPT_SCOPE}
        scheme = "https" if outer["scheme"] == "wss" else "http"
        state = {LATEST_RESPONSE: self.connection.latest}
        return {
            **kept,
            "type": "http",
            "method": "POST",
            "scheme": scheme,
            "query_string": b"",
            "headers": headers,
            "state": state,
        }

    async def receive(self) -> Message:
        """Return the body; then wait until the client goes."""
        if self.is_sent:
            await self.connection.gone.wait()
            return {"type": "http.disconnect"}
        self.is_sent = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Write what the application sends: the events of a stream, or an error."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.is_stream = dict(message["headers"]).get(b"content-type", b"").startswith(EVENT_STREAM)
            return
        self.unsent += message.get("body", b"")
        if self.is_stream:
            await self._send_events()
        elif not message.get("more_body", False):
            self.has_failed = True
            await self.connection.send_error_body(self.status, msgspec.json.decode(self.unsent))

    async def _send_events(self) -> None:
        *blocks, self.unsent = self.unsent.split(b"\n\n")
        for block in blocks:
            data = b"".join(line[6:] for line in block.split(b"\n") if line.startswith(b"data: {"))
            if data:
                await self._send_event(data)

    async def _send_event(self, data: bytes) -> None:
        event = msgspec.json.decode(data, type=_Event)
        self.has_failed = self.has_failed or event.type in _FAILED
        if event.type is None:
            await self.connection.send_error_body(500, msgspec.json.decode(data))
        else:
            await self.connection.websocket.send_text(data.decode())


class _Event(msgspec.Struct):
    type: str | None = None


def _validate_handshake(websocket: WebSocket) -> None:
    """Raise `ApiError` for a client that may not send requests."""
    services: Services = websocket.app.state.services
    scope = {**websocket.scope, "method": "POST"}
    headers, keys = read_headers(scope), services.keys
    validate_host(scope, headers, services.settings.server.hosts, is_open=not keys.tenants)
    authenticate(keys, "POST", scope["path"], headers)


async def _refuse_handshake(websocket: WebSocket, error: ApiError) -> None:
    async def send(message: Message) -> None:
        await websocket.send({**message, "type": f"websocket.{message['type']}"})

    await send_error(send, error)


def _read_message(message: str | bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of a message, its type left out.

    Raises:
        ApiError: 400, it does not ask for a response.
    """
    try:
        fields = _decode_object(message)
    except (msgspec.DecodeError, RecursionError):
        raise invalid_value("the message is not a JSON object: send one of type response.create.", None) from None
    if _read_text(fields.pop("type", None)) != _CREATE:
        raise invalid_value("type is not response.create, the only message that this server takes.", "type")
    if "stream" in fields and bytes(fields["stream"]) not in (b"true", b"null"):
        raise invalid_value("stream is always true over WebSocket: leave it out.", "stream")
    return fields


def _read_text(value: msgspec.Raw | None) -> str:
    """Return a field that holds a text, empty for any other."""
    try:
        return "" if value is None else msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return ""
