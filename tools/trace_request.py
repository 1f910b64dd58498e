"""Count the files and functions of heatbath that one streamed chat request runs through.

    python tools/trace_request.py [--list]

The server is the real one (middleware, metrics, dashboard, SQLite storage) with an engine that answers one token at
once. It is called in this process, after a request that warms it up; what runs in the event loop's thread counts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import heatbath
from heatbath.engine.mock import MockEngine
from heatbath.serve.app import build_app
from heatbath.serve.services import build_services
from heatbath.serve.settings import Settings

ROOT = Path(heatbath.__file__).parent
BODY = b'{"model": "mock", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "stream": true}'
SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/v1/chat/completions",
    "raw_path": b"/v1/chat/completions",
    "query_string": b"",
    "root_path": "",
    "headers": [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(BODY)).encode()),
    ],
    "client": ("127.0.0.1", 1),
    "server": ("localhost", 80),
}


@contextmanager
def recording(rounds: list[set[CodeType]]) -> Iterator[None]:
    """Add the set of all functions of heatbath that are called within the block, in this thread."""
    root, found = str(ROOT), set[CodeType]()
    rounds.append(found)

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            found.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


async def ask(app: Any) -> bytes:
    """Send one request and return the body of the response."""
    received: list[dict[str, Any]] = [{"type": "http.request", "body": BODY, "more_body": False}]
    body = b""

    async def receive() -> dict[str, Any]:
        if not received:
            await asyncio.Event().wait()
        return received.pop()

    async def send(message: dict[str, Any]) -> None:
        nonlocal body
        body += message.get("body", b"")

    await app({**SCOPE, "headers": list(SCOPE["headers"])}, receive, send)
    return body


async def measure(folder: Path) -> set[CodeType]:
    """Return the functions that a request runs through, after one that warms up."""
    sections: dict[str, Any] = {
        "model": {"name": "mock"},
        "storage": {"url": f"sqlite:///{folder / 'trace.db'}"},
        "server": {"log": "error"},
    }
    settings = Settings(**sections)
    app = build_app(build_services(settings, engine=MockEngine()))
    rounds: list[set[CodeType]] = []
    async with app.router.lifespan_context(app):
        while not app.state.services.lifecycle.has_opened:
            await asyncio.sleep(0.01)
        assert b"[DONE]" in await ask(app)
        for _ in range(6):
            await asyncio.sleep(0.05)
            with recording(rounds):
                body = await ask(app)
                # The task of the generation ends a turn after the response.
                await asyncio.sleep(0)
            assert b"[DONE]" in body, body
    # What runs in the background now and then is not part of a request.
    return set.intersection(*rounds)


def main() -> None:
    """Print the two counts, and how many functions each file contributes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the functions of each file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder)))
    names: dict[str, list[str]] = {}
    for code in found:
        names.setdefault(str(Path(code.co_filename).relative_to(ROOT)), []).append(code.co_qualname)
    counts = Counter({file: len(functions) for file, functions in names.items()})
    for file, count in sorted(counts.items()):
        print(f"{count:4}  {file}" + (": " + ", ".join(sorted(names[file])) if arguments.list else ""))
    inner = sum(code.co_name.startswith("<") for code in found)
    print(f"{len(names)} files, {len(found)} functions ({inner} of them comprehensions)")


if __name__ == "__main__":
    main()
