"""The files of the page: a fixed list, so that no path leads to any other file."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from heatbath.serve.errors import ApiError

_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

INDEX_FILE = "index.html"
REVIEW_FILE = "review.html"

FILE_NAMES = (
    INDEX_FILE,
    REVIEW_FILE,
    "icon.svg",
    "page.css",
    "review.css",
    "figures.css",
    "main.js",
    "api.js",
    "calibration.js",
    "retrieval.js",
    "charts.js",
    "distributions.js",
    "dom.js",
    "ensemble.js",
    "ladder.js",
    "logz.js",
    "phasemap.js",
    "playground.js",
    "plot.js",
    "policycard.js",
    "requests.js",
    "reviewcard.js",
    "reviewlist.js",
    "reviewpage.js",
    "stepper.js",
    "tokens.js",
    "traffic.js",
    "vendor/uplot.js",
    "vendor/uplot.css",
    "vendor/uplot.LICENSE.txt",
    "vendor/uplot.VERSION.txt",
)
"""All files under `/static/`."""

PAGE_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Forbids other hosts, scripts and styles in the markup, and texts that a script could turn into markup."""


def serve_file(request: Request, name: str) -> Response:
    """Return a file of the page; 304 if the browser has it.

    Raises:
        ApiError: 404, there is no such file.
    """
    if name not in FILE_NAMES:
        raise ApiError(404, f"there is no file {name[:100]!r}: start at /.", code="not_found")
    body, tag = _read_file(name)
    headers = {"etag": tag, "cache-control": "no-cache", "content-security-policy": PAGE_SECURITY_POLICY}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=_MEDIA_TYPES[name.rpartition(".")[2]])


@cache
def _read_file(name: str) -> tuple[bytes, str]:
    body = files("heatbath.serve.dashboard").joinpath("static", *name.split("/")).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
