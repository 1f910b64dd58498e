"""Listening sockets and TLS files: checked before anything is loaded."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from collections.abc import Sequence

from heatbath.errors import BadInput
from heatbath.serve.http.protocol import MAX_UNSENT_BYTES
from heatbath.serve.settings import ServerSettings, Settings

BACKLOG = 2048
"""Connections that may wait to be accepted."""


def validate_settings(settings: Settings) -> None:
    """Refuse settings that the server must not start with, before anything is loaded.

    Raises:
        BadInput: an address that others can reach without a key; TLS files that are missing or do not match.
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
    """Open a socket for every address of `server.host`, all on one port.

    Raises:
        BadInput: the port is in use or reserved, or the host has no address here.
    """
    sockets: list[socket.socket] = []
    port = server.port
    for family, address in _resolve_addresses(server):
        try:
            sockets.append(_bind_socket(family, (address, port)))
        except OSError as error:
            for other in sockets:
                other.close()
            raise BadInput(_format_bind_error(server, error)) from None
        port = sockets[0].getsockname()[1]
    return sockets


def format_address(server: ServerSettings, sockets: Sequence[socket.socket]) -> str:
    """Return the URL of the server."""
    host = "localhost" if server.host in ("0.0.0.0", "::") else server.host
    scheme = "https" if server.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"


def _resolve_addresses(server: ServerSettings) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(server.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise BadInput(f"server.host is {server.host!r}, which has no address: check its spelling.") from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _is_loopback(address: tuple[socket.AddressFamily, str]) -> bool:
    return ipaddress.ip_address(address[1].partition("%")[0]).is_loopback


def _bind_socket(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Bytes that a client does not read then wait in this process, which notices that they do.
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def _format_bind_error(server: ServerSettings, error: OSError) -> str:
    where = f"port {server.port} on {server.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: stop what uses it, or choose another with --port."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} is reserved for the system: choose one from 1024 up with --port."
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
        message = "must be a certificate chain and its private key in PEM without a password: check both files."
        raise BadInput(f"server.tls_cert and server.tls_key {message}") from None
