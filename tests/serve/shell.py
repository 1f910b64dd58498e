"""The server's shell without the API: requests straight into the application, and a process with routes to try it by.

Its process is that of `process.py` with the routes of `ROUTES`, and an engine that starts slowly or not at all.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from heatbath.engine.base import Request, TokensGenerated
from heatbath.engine.mock import MockEngine, MockLatency
from heatbath.errors import ModelError
from heatbath.serve.app import build_app
from heatbath.serve.errors import as_api_error
from heatbath.serve.http.auth import build_keyring
from heatbath.serve.interfaces import RequestOutcome
from heatbath.serve.logging import build_logger
from heatbath.serve.model_names import build_model_names
from heatbath.serve.rate_limits import build_rate_limiter
from heatbath.serve.services import Services
from heatbath.serve.settings import Settings


@dataclass
class Kept:
    """A store in memory."""

    answers: dict[str, RequestOutcome] = field(default_factory=dict)
    unavailable_reason: str | None = None

    async def save(self, answered: RequestOutcome) -> None:
        self.answers[answered.request.id] = answered

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        return self.answers.get(id)

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        return list(self.answers.values())[-count:]


def services(engine: Any = None, file: Any = None, *, ready: bool = True, **parts: Any) -> Services:
    """Services without a database; `parts` are sections of the settings, `file` gets the log."""
    base = {"server": {"page": False}, "metrics": {"enabled": False}, "storage": {"url": "sqlite:///unused"}}
    given = {part: {**base.get(part, {}), **parts.get(part, {})} for part in {**base, **parts}}
    settings = Settings(**given)
    made = Services(
        settings,
        engine or MockEngine(),
        Kept(),
        build_model_names(settings.model),
        keys=build_keyring(settings.keys),
        rate_limiter=build_rate_limiter(settings),
        log=build_logger(settings.server.log, file),
    )
    if ready:
        made.lifecycle.open()
    return made


@dataclass
class Answer:
    """What came back. `torn`: the application gave up in the middle."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    torn: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which has to have its four keys and nothing else."""
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


Headers = Mapping[str, str] | Sequence[tuple[str, str]]


async def asking(
    app: Starlette, method: str, path: str, headers: Headers = (), *, body: bytes | Sequence[bytes] = b""
) -> Answer:
    """One request into the application; `body` in parts is sent in chunks, and an empty last part never comes."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if not any(name == "host" for name, _ in pairs):
        pairs.append(("host", "127.0.0.1:8000"))
    parts = [body] if isinstance(body, bytes) else list(body)
    got, gone = Answer(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not parts:
            await gone.wait()
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        if not part and len(parts) == 0 and not isinstance(body, bytes):
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            got.status = message["status"]
            got.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            got.body += message.get("body", b"")

    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path}
    scope |= {"raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": raw, "scheme": "http"}
    scope |= {"server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1)}
    try:
        await app(scope, receive, send)
    except Exception:
        got.torn = True
    return got


def ask(app: Starlette, method: str, path: str, headers: Headers = (), **more: Any) -> Answer:
    """`asking`, on a loop of its own."""
    return asyncio.run(asking(app, method, path, headers, **more))


async def echo(request: Asked) -> Response:
    """What came, and by whom."""
    body = await request.body()
    request.state.headers["x-heatbath-overhead-ms"] = "0.1"
    return JSONResponse({"bytes": len(body), "tenant": request.state.tenant.name, "id": request.state.id})


async def bug(request: Asked) -> Response:
    """Not meant to happen."""
    raise RuntimeError("secret of /srv/secret.py")


async def broken(request: Asked) -> Response:
    """The model's fault."""
    raise ModelError("cannot read /srv/models/weights.bin: fetch it again.")


async def late_bug(request: Asked) -> Response:
    """A stream that breaks without a handler of its own."""

    async def parts() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        raise RuntimeError("secret")

    return StreamingResponse(parts(), media_type="text/event-stream")


async def short(request: Asked) -> Response:
    """A promised length that is not kept."""

    async def parts() -> AsyncIterator[str]:
        yield "12345"
        raise RuntimeError("secret")

    return StreamingResponse(parts(), headers={"content-length": "10"})


async def stream(request: Asked) -> Response:
    """So many tokens of the engine, as events, with their number at the end."""
    asked = json.loads(await request.body())
    engine = request.app.state.services.engine
    steps = engine.submit(Request((1,), request.state.id, max_tokens=asked.get("tokens", 16)))

    async def parts() -> AsyncIterator[str]:
        count, padding = 0, "x" * asked.get("padding", 0)
        try:
            async for step in steps:
                if isinstance(step, TokensGenerated):
                    count += 1
                    yield f"data: {step.text}{padding}\n\n"
        except Exception as error:
            yield f"data: {json.dumps(as_api_error(error).body)}\n\n"
        else:
            yield f"data: all {count}\n\ndata: [DONE]\n\n"
        finally:
            await steps.aclose()

    return StreamingResponse(parts(), media_type="text/event-stream")


async def listen(request: Asked) -> Response:
    """A page that listens for ever."""

    async def parts() -> AsyncIterator[str]:
        while True:
            yield ": tick\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(parts(), media_type="text/event-stream")


ROUTES = [
    Route("/v1/try/echo", echo, methods=["POST"]),
    Route("/v1/try/bug", bug, methods=["POST"]),
    Route("/v1/try/broken", broken, methods=["POST"]),
    Route("/v1/try/late", late_bug, methods=["POST"]),
    Route("/v1/try/short", short, methods=["POST"]),
    Route("/v1/try/stream", stream, methods=["POST"]),
    Route("/try/listen", listen),
    Route("/try/bug", bug),
]


def app_of(services: Services) -> Starlette:
    """The application with the routes to try it by."""
    return build_app(services, ROUTES)


@dataclass
class Slow(MockEngine):
    """Takes its time to start, or fails."""

    start_seconds: float = 0.0
    broken: str = ""

    async def start(self) -> None:
        await asyncio.sleep(self.start_seconds)
        if self.broken:
            raise ModelError(self.broken)


def main(given: dict[str, Any]) -> int:
    from heatbath.errors import HeatbathError
    from heatbath.serve.server import serve

    engine = Slow(MockLatency(**given.get("pace", {})), **given.get("engine", {}))
    made = services(engine, ready=False, **given["settings"])
    try:
        return serve(made, lambda address: print(address, flush=True), ROUTES)
    except HeatbathError as error:
        print(error, file=sys.stderr)
        return 1
