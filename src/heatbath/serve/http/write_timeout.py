"""A limit on clients that do not read what is sent to them, for every protocol of uvicorn."""

from __future__ import annotations

import asyncio


class WriteTimeout(asyncio.Protocol):
    """Aborts a connection whose client has read none of the bytes that wait for it in `write_timeout` seconds.

    Attributes:
        write_timeout: seconds within which a client must read some of the bytes.
        transport: the connection, set by the protocol that this is mixed into.
    """

    write_timeout: float
    transport: asyncio.Transport
    _stall_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_stall_timer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self.cancel_stall_timer()

    def cancel_stall_timer(self) -> None:
        """Stop watching the client."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _start_stall_timer(self, unsent: int) -> None:
        """Abort the connection if the client has read none of `unsent` bytes when the time is up."""
        loop = asyncio.get_running_loop()
        self._stall_timer = loop.call_later(self.write_timeout, self._handle_stall, unsent)

    def _handle_stall(self, unsent: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < unsent:
            self._start_stall_timer(now)
        else:
            self.transport.abort()
