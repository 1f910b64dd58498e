"""A server with a policy in this process: an engine whose texts come in any pieces, and calls without a socket."""

from __future__ import annotations

import asyncio
import codecs
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import Kept, Seen
from starlette.applications import Starlette

from heatbath.engine.base import EngineStats, Event, Finished, ModelInfo, Request, Started, Token, TokensGenerated
from heatbath.engine.mock import ByteModelInfo
from heatbath.policy import PolicyFile
from heatbath.serve.app import build_app
from heatbath.serve.dashboard import Feed
from heatbath.serve.logging import build_logger
from heatbath.serve.model_names import ModelNames
from heatbath.serve.policy.served_policy import ServedPolicy
from heatbath.serve.review.queue import StoredReviewQueue
from heatbath.serve.services import Services
from heatbath.serve.settings import ReviewSettings, Settings
from heatbath.serve.storage import open_store
from heatbath.serve.telemetry import build_metrics

END = 256
HELLO = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def tool_call(arguments: str) -> str:
    """A call of the tool `f` as the model writes it."""
    return '<tool_call>\n{"name": "f", "arguments": ' + arguments + "}\n</tool_call>"


@dataclass
class Pieces:
    """An engine whose choice i is `texts[i]`, in events of as many bytes as `sizes` says, over and over."""

    texts: Sequence[str] = ("Hello.",)
    sizes: Sequence[int] = (1,)
    alternatives: Sequence[int] = (65,)
    work: dict[str, float] = field(default_factory=dict)
    model_info: ModelInfo = field(default_factory=ByteModelInfo)
    unavailable_reason: str | None = None
    requests: list[Request] = field(default_factory=list)

    @property
    def stats(self) -> EngineStats:
        return EngineStats()

    async def start(self) -> None:
        pass

    async def drain(self, seconds: float) -> None:
        pass

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self.requests.append(request)
        scored = [self.token(each, place, request) for place, each in enumerate(request.prompt)]
        scored = scored if request.score_prompt else []
        yield Started(seed=request.seed or 0, queue_seconds=0.0, scored_prompt=scored)
        streams = [self.choice(i, request) for i in range(request.n if request.max_tokens else 0)]
        # Choices grow in turns.
        for events in itertools.zip_longest(*streams):
            for event in events:
                if event is not None:
                    yield event
            await asyncio.sleep(0)
        yield Finished(log_weights=[0.0] * request.n)

    def choice(self, index: int, request: Request) -> Iterator[TokensGenerated]:
        data = self.texts[index % len(self.texts)].encode()[: request.max_tokens]
        shown, stop = len(data), None
        for text in request.stop:
            place = data.find(text.encode())
            if 0 <= place < shown:
                shown, stop, data = place, text, data[: place + len(text.encode())]
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        sizes, start = itertools.cycle(self.sizes), 0
        while start < len(data):
            piece = data[start : start + next(sizes)]
            text = decoder.decode(piece[: max(0, shown - start)])
            start += len(piece)
            reason = (
                None if start < len(data) else "stop" if stop else "length" if start >= request.max_tokens else None
            )
            tokens = [self.token(byte, 1, request) for byte in piece]
            yield TokensGenerated(index, tokens, text, reason, stop if reason == "stop" else None)
        if stop is None and len(data) < request.max_tokens:
            yield TokensGenerated(index, [self.token(END, 1, request)], "", "stop", END)

    def token(self, token: int, place: int, request: Request) -> Token:
        record: dict[str, Any] = {"logprob": -0.5, "entropy": 1.0, "heat_capacity": 0.25, "temperature": 1.0}
        record |= {"p_max": 0.5, **{f"work/{name}": nats for name, nats in self.work.items()}}
        top = [(other, -0.1) for other in self.alternatives] + [(token, -token / 100), (END, -math.inf)]
        return Token(token, None if place == 0 else -token / 100, top[: request.top_logprobs], record)


@dataclass
class Gated:
    """A server under test: what its observers and its store were told, and what its pages would show."""

    app: Starlette
    services: Services
    engine: Pieces
    store: Kept
    seen: Seen
    feed: Feed

    async def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return await call(self.app, "POST", path, {"model": "mock", **(body or {})}, **more)

    async def get(self, path: str) -> Reply:
        return await call(self.app, "GET", path, None)

    async def chat(self, **more: Any) -> Reply:
        return await self.post("/v1/chat/completions", {"messages": HELLO, **more})

    async def complete(self, prompt: Any = "Say: ", **more: Any) -> Reply:
        return await self.post("/v1/completions", {"prompt": prompt, "max_tokens": 200, **more})

    async def respond(self, **more: Any) -> Reply:
        return await self.post("/v1/responses", {"input": "hi", **more})

    async def message(self, **more: Any) -> Reply:
        return await self.post("/v1/messages", {"messages": HELLO, "max_tokens": 200, **more})

    @property
    def outcome(self) -> Any:
        """The newest stored outcome."""
        return list(self.store.answers.values())[-1]


@dataclass
class Reply:
    """A response: all its bytes, and the pieces that they came in."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of a stream."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: {")]
        return [json.loads(line) for line in lines]

    @property
    def text(self) -> str:
        """The text of the first choice of a stream of a chat or a completion."""
        found = [choice for event in self.events for choice in event["choices"] if choice["index"] == 0]
        return "".join(each.get("text") or each.get("delta", {}).get("content") or "" for each in found)

    @property
    def ends(self) -> dict[int, Any]:
        """The chunk of each choice that ends it."""
        choices = [choice for event in self.events for choice in event["choices"]]
        return {choice["index"]: choice for choice in choices if choice["finish_reason"]}


async def call(app: Any, method: str, path: str, body: Any, *, reply: Reply | None = None, **headers: str) -> Reply:
    """Send a request to an application and return its response, which grows in `reply`."""
    content = b"" if body is None else json.dumps(body).encode()
    given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(content)), **headers}
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    waiting, reply = [{"type": "http.request", "body": content, "more_body": False}], reply or Reply()

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            reply.pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    return reply


@asynccontextmanager
async def gated(
    folder: Path,
    rules: str | None,
    engine: Pieces | None = None,
    *,
    review: dict[str, Any] | None = None,
    **policy: Any,
) -> AsyncIterator[Gated]:
    """Run a server with the rules of a YAML text, None for no policy.

    `policy` are settings of the gate, `review` those of a review queue in a database, None for no queue.
    """
    engine, store, seen = engine or Pieces(), Kept(), Seen()
    settings = Settings(server={"log": "error"}, policy=policy)
    database, queue = None, None
    if review is not None:
        database = open_store(f"sqlite:///{folder / 'reviews.db'}")
        queue = StoredReviewQueue(database, ReviewSettings(enabled=True, **review))
    served = None
    if rules is not None:
        path = folder / "policy.yaml"
        path.write_text(rules, encoding="utf-8")
        served = ServedPolicy(PolicyFile(path), settings.policy, review is not None)
    metrics = build_metrics(["mock"], {})
    metrics.gauges.policy = served
    feed = Feed(metrics.snapshot)
    services = Services(
        settings,
        engine,
        store,
        ModelNames("mock", {}),
        observers=[seen, metrics.request_metrics, feed],
        metrics=metrics,
        policy=served,
        review=queue,
        log=build_logger("error"),
    )
    services.lifecycle.open()
    async with AsyncExitStack() as stack:
        if database is not None and queue is not None:
            stack.push_async_callback(database.close)
            await stack.enter_async_context(queue.run())
        yield Gated(build_app(services), services, engine, store, seen, feed)


async def talk(app: Any, body: Any) -> list[Any]:
    """Send one message over WebSocket and return the events of its response."""
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "subprotocols": [],
        "path": "/v1/responses", "raw_path": b"/v1/responses", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    message = json.dumps({"type": "response.create", "model": "mock", **body})
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    waiting.put_nowait({"type": "websocket.connect"})
    waiting.put_nowait({"type": "websocket.receive", "text": message})
    events: list[Any] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] != "websocket.send":
            return
        events.append(json.loads(message["text"]))
        if events[-1]["type"] in ("response.completed", "response.incomplete", "response.failed", "error"):
            waiting.put_nowait({"type": "websocket.disconnect", "code": 1000})

    await app(scope, waiting.get, send)
    return events


def run(test: Callable[[], Any]) -> Any:
    """Run a coroutine function to its end."""
    return asyncio.run(test())
