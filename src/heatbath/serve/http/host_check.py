"""By which names the server may be called, and from which pages.

Without keys everything is open to whoever can reach loopback, and a browser can: a page of another site must neither
ask nor, by pointing its own name at 127.0.0.1, look like this one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.api_keys import HEALTH_PATHS
from heatbath.serve.errors import ApiError
from heatbath.serve.http.asgi import header_value, header_values


@dataclass(frozen=True)
class HostCheckMiddleware:
    """Refuses other names than `hosts` and, with `open_` (no keys are set), other sites' pages."""

    app: ASGIApp
    hosts: Sequence[str]
    is_open: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.validate(scope)
        await self.app(scope, receive, send)

    def validate(self, scope: Scope) -> None:
        """Raises `ApiError`: 400 without one name of the server, 403 for a name or a page that is not ours."""
        given = header_values(scope, b"host")
        if len(given) > 1 or (not given and scope.get("http_version") != "1.0"):
            raise ApiError(400, f"the request has {len(given)} Host headers: send one.", code="invalid_host")
        host = given[0].decode("latin-1") if given else ""
        if scope["path"] not in HEALTH_PATHS and not self._is_known(parse_host(host)):
            raise ApiError(403, f"{host[:100]!r} is no name of this server: use its address.", code="host_not_allowed")
        if self.is_open and _is_cross_origin(scope, host):
            raise ApiError(403, "a page of another site may not ask here.", code="cross_origin")

    def _is_known(self, name: str) -> bool:
        if self.is_open and is_loopback(name):
            return True
        if not self.hosts:
            return not self.is_open
        return any(_matches_pattern(host.lower(), name) for host in self.hosts)


def parse_host(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Whether a name or address means this machine to itself, whatever a name server says."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _matches_pattern(host: str, name: str) -> bool:
    return name.endswith(host[1:]) if host.startswith("*.") else name == host


def _is_cross_origin(scope: Scope, host: str) -> bool:
    origin = header_value(scope, b"origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() != host.lower()
    follows_a_link = header_value(scope, b"sec-fetch-mode") == "navigate" and scope["method"] == "GET"
    return header_value(scope, b"sec-fetch-site") in ("cross-site", "same-site") and not follows_a_link
