"""A server process: its sockets, its start, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from starlette.routing import BaseRoute

from heatbath.errors import BadInput, HeatbathError
from heatbath.serve.app import build_app
from heatbath.serve.http.protocol import MAX_UNSENT_BYTES, build_protocol
from heatbath.serve.lifecycle import Lifecycle
from heatbath.serve.logging import ForwardingHandler
from heatbath.serve.services import Services
from heatbath.serve.settings import ServerSettings, Settings

FORCED_EXIT_CODE = 130
"""Exit code when a second signal ended it with requests cut short."""
CANCEL_GRACE_SECONDS = 1.0
"""Seconds in which requests cut short may say so."""
SIGNAL_DEBOUNCE_SECONDS = 0.5
"""Seconds within which a signal is the same one again: shells and supervisors signal the process and its group."""
BACKLOG = 2048
FORWARDED = ("uvicorn", "opentelemetry", "asyncio")
"""Loggers of libraries whose errors concern whoever runs the server: a connection, a collector, a task."""


def validate_settings(settings: Settings) -> None:
    """Refuse settings the server must not start with, before anything is loaded.

    Raises:
        BadInput: an address others can reach and no key; TLS files that are not there or do not fit together.
    """
    server = settings.server
    if not settings.keys and not all(_is_loopback(address) for address in _resolve_addresses(server)):
        raise BadInput(
            f"server.host is {server.host!r}, which others can reach, and there is no key: add one that "
            "`heatbath serve --new-key NAME` prints, or listen on 127.0.0.1."
        )
    if server.tls_cert is not None and server.tls_key is not None:
        _validate_tls(server)


def open_sockets(server: ServerSettings) -> list[socket.socket]:
    """A socket for every address of `server.host`, all on one port.

    Raises:
        BadInput: the port is in use or not ours to take, or the host has no address here.
    """
    sockets: list[socket.socket] = []
    port = server.port
    for family, address in _resolve_addresses(server):
        try:
            sockets.append(_bind_socket(family, (address, port)))
        except OSError as error:
            for bound in sockets:
                bound.close()
            raise BadInput(_format_bind_error(server, error)) from None
        port = sockets[0].getsockname()[1]
    return sockets


def format_address(server: ServerSettings, sockets: Sequence[socket.socket]) -> str:
    """The URL the server is reached by."""
    host = "localhost" if server.host in ("0.0.0.0", "::") else server.host
    scheme = "https" if server.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"


def serve(services: Services, announce: Callable[[str], None], extra_routes: Sequence[BaseRoute] = ()) -> int:
    """Listen, start the engine, answer until a signal comes, and let what runs come to its end.

    `announce` is called with the address once requests are answered. Returns the exit code: 0, also where requests
    had to be cut short at the end; a second signal exits at once with 130.

    Raises:
        BadInput: it cannot listen there. HeatbathError: the engine could not start.
    """
    # Threads of torch that spin while they wait keep the event loop from its turn; read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
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
    if not services.lifecycle.has_opened:  # a model half loaded, in a thread that cannot be interrupted
        sys.stdout.flush()
        os._exit(0)
    return 0


class Server(uvicorn.Server):
    """uvicorn, whose port stays open while it drains, and whose end by a signal is no error."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.services = services
        self.last_signal_time = 0.0
        services.lifecycle.on_failure = self._request_exit

    @property
    def lifecycle(self) -> Lifecycle:
        """The gate of the services."""
        return self.services.lifecycle

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours while it runs."""
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
        """The first signal begins the end, the second is the end: what was acknowledged is on the disk."""
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
        """Until the end begins; then until nothing runs any more."""
        await super().main_loop()
        self.lifecycle.drain()
        seconds = self.services.settings.server.drain_seconds
        if not await self._wait_until_idle(seconds):
            await self.services.engine.drain(0)
            if not await self._wait_until_idle(CANCEL_GRACE_SECONDS):
                self.lifecycle.cancel_all()
                await self._wait_until_idle(CANCEL_GRACE_SECONDS)

    async def _wait_until_idle(self, seconds: float) -> bool:
        """Whether all requests worth waiting for have ended within `seconds`."""
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
        ws="none",
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
    """Errors that libraries log go to our log while it runs."""
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


def _resolve_addresses(server: ServerSettings) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(server.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise BadInput(f"server.host is {server.host!r}, which has no address: check its spelling.") from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _is_loopback(address: tuple[socket.AddressFamily, str]) -> bool:
    return ipaddress.ip_address(address[1].partition("%")[0]).is_loopback


def _bind_socket(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # what a client does not read waits here, where it is seen
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _format_bind_error(server: ServerSettings, error: OSError) -> str:
    where = f"port {server.port} on {server.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: stop what uses it, or choose another with --port."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} is not for this user to take: choose one from 1024 up with --port."
    return f"{where} cannot be listened on ({(error.strerror or 'no reason given').lower()}): choose another --host."


def _validate_tls(server: ServerSettings) -> None:
    for key in ("tls_cert", "tls_key"):
        path = getattr(server, key)
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            reason = (error.strerror or "no reason given").lower()
            raise BadInput(f"server.{key} is {str(path)!r}, which cannot be read ({reason}): check the path.") from None
    assert server.tls_cert is not None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.tls_cert, server.tls_key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError):
        message = "are no certificate chain and its private key in PEM without a password: check both files."
        raise BadInput(f"server.tls_cert and server.tls_key {message}") from None
