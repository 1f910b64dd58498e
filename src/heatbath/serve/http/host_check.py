"""Check of the name that a request calls the server by, and of the site whose page sent it.

Without keys the server is open to whatever can reach loopback, and a browser can: a page of another site must neither
send requests nor, by pointing its own name at 127.0.0.1, look like a page of this server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import Scope

from heatbath.serve.errors import ApiError
from heatbath.serve.http.auth import HEALTH_PATHS
from heatbath.serve.http.body_limits import RequestHeaders


def validate_host(scope: Scope, headers: RequestHeaders, hosts: Sequence[str], *, is_open: bool) -> None:
    """Refuse other names than `hosts` and, where the server `is_open` (no keys), pages of other sites.

    Raises:
        ApiError: 400 without exactly one Host header, 403 for another name or another site.
    """
    given = headers.get("host", ())
    if len(given) > 1 or (not given and scope.get("http_version") != "1.0"):
        raise ApiError(400, f"the request has {len(given)} Host headers: send one.", code="invalid_host")
    host = given[0] if given else ""
    if scope["path"] not in HEALTH_PATHS and not is_known_host(parse_host(host), hosts, is_open=is_open):
        message = f"{host[:100]!r} is not a name of this server: use its address."
        raise ApiError(403, message, code="host_not_allowed")
    if is_open and _is_cross_origin(scope["method"], headers, host):
        raise ApiError(403, "pages of other sites may not send requests here.", code="cross_origin")


def is_known_host(name: str, hosts: Sequence[str], *, is_open: bool) -> bool:
    """Return whether the server goes by `name`: one of `hosts` if there are any, loopback where it `is_open`."""
    if is_open and is_loopback(name):
        return True
    if not hosts:
        return not is_open
    return any(_matches_pattern(host.lower(), name) for host in hosts)


def parse_host(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Return whether a name or address means this machine to itself, whatever a name server says."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _matches_pattern(host: str, name: str) -> bool:
    return name.endswith(host[1:]) if host.startswith("*.") else name == host


def _is_cross_origin(method: str, headers: RequestHeaders, host: str) -> bool:
    if "origin" in headers:
        return urlsplit(headers["origin"][0]).netloc.lower() != host.lower()
    follows_link = headers.get("sec-fetch-mode", ("",))[0] == "navigate" and method == "GET"
    return headers.get("sec-fetch-site", ("",))[0] in ("cross-site", "same-site") and not follows_link
