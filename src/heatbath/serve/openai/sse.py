"""Server-sent events: bytes are sent as they come, with keep-alive comments, and the work ends with the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from heatbath.serve.errors import ApiError, as_api_error
from heatbath.serve.http.asgi import encode_error_event, encode_headers

T = TypeVar("T")

KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Outbox:
    """A buffer of bytes to be sent. What is put before the reader returns goes out in one piece."""

    def __init__(self, keep_alive_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._seconds = keep_alive_seconds
        self._last = self._loop.time()
        self._timer = self._loop.call_later(keep_alive_seconds, self._tick)

    def put(self, data: bytes) -> None:
        """Add bytes; none are not added, since they would be taken for the end."""
        if data:
            self._buffer.append(data)
            self._wake()

    def close(self) -> None:
        """Announce that nothing more will come."""
        self._closed = True
        self._timer.cancel()
        self._wake()

    async def wait(self) -> None:
        """Wait until there is something to get, or the end."""
        while not self._buffer and not self._closed:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def get(self) -> bytes:
        """Return all bytes that are waiting; none at the end."""
        await self.wait()
        self._last = self._loop.time()
        data = b"".join(self._buffer)
        self._buffer.clear()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tick(self) -> None:
        silence = self._loop.time() - self._last
        if silence >= self._seconds and not self._buffer:
            self.put(KEEP_ALIVE)
            silence = 0.0
        self._timer = self._loop.call_later(max(0.001, self._seconds - silence), self._tick)


StreamWork = Callable[[Outbox], Awaitable[None]]


class EventStreamResponse:
    """A response whose events `work` puts into an outbox. `open` starts it; the framework then sends it.

    `encode_error` writes the event of an error in the middle.
    """

    status_code = 200
    background = None

    def __init__(
        self,
        work: StreamWork,
        keep_alive_seconds: float,
        encode_error: Callable[[ApiError], bytes] = encode_error_event,
    ) -> None:
        self.headers: dict[str, str] = {}
        self._encode_error = encode_error
        self._outbox = Outbox(keep_alive_seconds)
        self.failure: BaseException | None = None
        self._opened = False
        self.task = asyncio.create_task(self._run(work))

    async def open(self, receive: Receive, seconds: float) -> None:
        """Wait for the first bytes, at most `seconds`, so that an error before them has a status of its own.

        Raises:
            ClientDisconnect: the client has gone meanwhile. Else what the work raised before its first bytes.
        """
        ready = asyncio.create_task(self._outbox.wait())
        gone = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait({ready, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientDisconnect
            if self.failure is not None:
                raise self.failure
            self._opened = True
        except BaseException:
            await _cancel(self.task)
            raise
        finally:
            await _cancel(ready, gone)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
        except OSError:
            raise ClientDisconnect from None
        finally:
            await _cancel(sending, gone)
            await _cancel(self.task)

    async def _send(self, send: Send) -> None:
        headers = encode_headers(_HEADERS | self.headers)
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        while data := await self._outbox.get():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, work: StreamWork) -> None:
        try:
            await work(self._outbox)
        except Exception as error:
            self.failure = error
            if self._opened:
                self._outbox.put(self._encode_error(as_api_error(error)))
            raise
        finally:
            self._outbox.close()


async def run_until_disconnect(request: Request, task: asyncio.Task[T]) -> T:
    """Return the result of `task`, which is cancelled as soon as the client has gone.

    Raises:
        ClientDisconnect: it has.
    """
    gone = asyncio.create_task(wait_for_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        await _cancel(task, gone)


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has gone."""
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, however they do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
