"""Server-sent events: what a task says goes out at once, a comment when it says nothing for long, and it ends with the
client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from heatbath.serve.errors import as_api_error
from heatbath.serve.http.asgi import encode_error_event, encode_headers

T = TypeVar("T")

KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Outbox:
    """Bytes on their way out. What is put before the reader comes back goes out in one piece."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._seconds = seconds
        self._last = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._tick)

    def put(self, data: bytes) -> None:
        """Say something; nothing is not said, since it would be taken for the end."""
        if data:
            self._waiting.append(data)
            self._wake()

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        self._timer.cancel()
        self._wake()

    async def ready(self) -> None:
        """Wait until there is something to fetch, or it is over."""
        while not self._waiting and not self._closed:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def get(self) -> bytes:
        """All that has been said and not been fetched; nothing when it is over."""
        await self.ready()
        self._last = self._loop.time()
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tick(self) -> None:
        silent = self._loop.time() - self._last
        if silent >= self._seconds and not self._waiting:
            self.put(KEEP_ALIVE)
            silent = 0.0
        self._timer = self._loop.call_later(max(0.001, self._seconds - silent), self._tick)


Work = Callable[[Outbox], Awaitable[None]]


class Events:
    """A response whose events are what `work` says. It is begun by `opened` and given to the framework to be sent."""

    status_code = 200
    background = None

    def __init__(self, work: Work, seconds: float) -> None:
        self.headers: dict[str, str] = {}
        self._outbox = Outbox(seconds)
        self.failure: BaseException | None = None
        self._begun = False
        self.task = asyncio.create_task(self._run(work))

    async def opened(self, receive: Receive, seconds: float) -> None:
        """Wait until there is something to say, `seconds` at most, so that an error before it has a status of its own.

        Raises:
            ClientDisconnect: it has gone meanwhile. Else what the work raises before it said anything.
        """
        ready = asyncio.create_task(self._outbox.ready())
        gone = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait({ready, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientDisconnect
            if self.failure is not None:
                raise self.failure
            self._begun = True
        except BaseException:
            await self._stop()
            raise
        finally:
            await _ended(ready, gone)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send, encode_headers(_HEADERS | self.headers)))
        gone = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
        except OSError:
            raise ClientDisconnect from None
        finally:
            await _ended(sending, gone)
            await self._stop()

    async def _send(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        while data := await self._outbox.get():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, work: Work) -> None:
        try:
            await work(self._outbox)
        except Exception as error:
            self.failure = error
            if self._begun:
                self._outbox.put(encode_error_event(as_api_error(error)))
            raise
        finally:
            self._outbox.close()

    async def _stop(self) -> None:
        await _ended(self.task)


async def unless_gone(request: Request, task: asyncio.Task[T]) -> T:
    """What `task` gives; it is cancelled as soon as the client has gone.

    Raises:
        ClientDisconnect: it has.
    """
    gone = asyncio.create_task(disconnected(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        await _ended(task, gone)


async def disconnected(receive: Receive) -> None:
    """Comes back when the client has gone."""
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have come to their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
