"""The server process: its start, its signals, and its shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from starlette.routing import BaseRoute

from heatbath.errors import HeatbathError
from heatbath.kernels.heap import limit_arenas
from heatbath.serve.app import build_app
from heatbath.serve.http.protocol import build_protocol
from heatbath.serve.lifecycle import Lifecycle
from heatbath.serve.logging import ForwardingHandler
from heatbath.serve.services import Services
from heatbath.serve.sockets import BACKLOG, format_address, open_sockets, validate_settings

FORCED_EXIT_CODE = 130
"""Exit code after a second signal, which cancels running requests."""
CANCEL_GRACE_SECONDS = 1.0
"""Seconds in which cancelled requests may send an error."""
SIGNAL_DEBOUNCE_SECONDS = 0.5
"""Seconds within which a signal is the same one again: shells and supervisors signal the process and its group."""
FORWARDED = ("uvicorn", "opentelemetry", "asyncio", "heatbath.serve.storage")
"""Loggers whose errors concern the operator: a connection, a collector, a task."""


def serve(services: Services, announce: Callable[[str], None], extra_routes: Sequence[BaseRoute] = ()) -> int:
    """Listen, start the engine, serve requests until a signal comes, and let running requests end.

    `announce` is called with the address once requests are served. Returns the exit code: 0, also where requests had
    to be cancelled at the end; a second signal exits at once with 130.

    Raises:
        BadInput: the address cannot be listened on. HeatbathError: the engine could not start.
    """
    # Threads of torch that spin while they wait would slow the event loop; read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    limit_arenas()
    settings = services.settings.server
    validate_settings(services.settings)
    sockets = open_sockets(settings)
    server = Server(_build_config(services, extra_routes), services)
    address = format_address(settings, sockets)
    services.lifecycle.on_open = lambda: announce(address)
    with _forward_logs(services):
        server.run(sockets)
    failure = services.lifecycle.startup_error
    if isinstance(failure, HeatbathError | OSError | MemoryError):
        raise failure
    if failure is not None:
        raise HeatbathError(f"the engine could not start ({type(failure).__name__}).") from failure
    if not services.lifecycle.has_opened:
        # The thread that loads the model cannot be interrupted.
        sys.stdout.flush()
        os._exit(0)
    return 0


class Server(uvicorn.Server):
    """A uvicorn server whose port stays open while it drains, and for which the end by a signal is not an error."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.services = services
        self.last_signal_time = 0.0
        services.lifecycle.on_failure = self._request_exit

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of the services."""
        return self.services.lifecycle

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down at the first signal; exit at once at the second: what was acknowledged is on disk."""
        now = time.monotonic()
        if self.lifecycle.is_draining and now - self.last_signal_time < SIGNAL_DEBOUNCE_SECONDS:
            return
        if self.lifecycle.is_draining:
            working = self.lifecycle.num_inference_requests
            os.write(2, f"heatbath: stopped at once, {working} requests were cut short.\n".encode())
            os._exit(FORCED_EXIT_CODE)
        self.last_signal_time = now
        self.lifecycle.drain()
        self._request_exit()

    def _request_exit(self) -> None:
        self.should_exit = True

    async def main_loop(self) -> None:
        """Serve until shutdown begins, then until no request runs any more."""
        await super().main_loop()
        self.lifecycle.drain()
        seconds = self.services.settings.server.drain_seconds
        if not await self._wait_until_idle(seconds):
            await self.services.engine.drain(0)
            if not await self._wait_until_idle(CANCEL_GRACE_SECONDS):
                self.lifecycle.cancel_all()
                await self._wait_until_idle(CANCEL_GRACE_SECONDS)

    async def _wait_until_idle(self, seconds: float) -> bool:
        """Return whether all inference requests have ended within `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.lifecycle.num_inference_requests and loop.time() < end:
            await asyncio.sleep(0.02)
        return not self.lifecycle.num_inference_requests


def _build_config(services: Services, extra_routes: Sequence[BaseRoute]) -> uvicorn.Config:
    server = services.settings.server
    return uvicorn.Config(
        build_app(services, extra_routes),
        http=build_protocol(server.read_timeout, server.write_timeout),
        ws="none",  # the protocol upgrades some paths by itself, and imports what it needs then
        ws_max_size=server.max_body,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(server.keep_alive_seconds)),
        timeout_graceful_shutdown=1,
        ssl_certfile=server.tls_cert,
        ssl_keyfile=server.tls_key,
    )


@contextlib.contextmanager
def _forward_logs(services: Services) -> Iterator[None]:
    """Write errors of libraries to our log while the block runs."""
    loggers, handler = [logging.getLogger(name) for name in FORWARDED], ForwardingHandler(services.log)
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
