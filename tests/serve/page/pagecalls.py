"""Requests whose connections are closed."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from process import Running


@dataclass(frozen=True)
class Got:
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: Running, path: str, body: Any = None, **headers: str) -> Got:
    """The response to a GET, or to a POST of `body`."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named["content-type"] = "application/json"
    try:
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), named)
        response = connection.getresponse()
        return Got(response.status, response.headers, response.read())
    finally:
        connection.close()


def chat(server: Running, *, key: str | None = None, **more: Any) -> Got:
    """An answer of a few tokens."""
    body = {"model": "mock", "messages": [{"role": "user", "content": "Heat?"}], "max_tokens": 8, "seed": 1, **more}
    return ask(server, "/v1/chat/completions", body, **({"authorization": f"Bearer {key}"} if key else {}))
