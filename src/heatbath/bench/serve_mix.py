"""Requests of all kinds against a server, from several connections at once, and its memory while they run."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heatbath.bench.serve_process import RunningServer
from heatbath.bench.serve_rounds import build_prompt
from heatbath.errors import ModelError

CONNECTIONS = 8
_TIMEOUT_SECONDS = 300.0
_MEMORY_INTERVAL = 25
_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "name": {"type": "string", "maxLength": 12}},
    "required": ["colour", "name"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class RequestKind:
    """A path, the body for the number of a request (None: a GET), and the status that is right."""

    path: str
    build_body: Callable[[int], Mapping[str, Any]] | None
    status: int = 200


def request_kinds(model: str) -> dict[str, RequestKind]:
    """Return the kinds of a mixed load, by name."""

    def chat(**fields: Any) -> RequestKind:
        def body(number: int) -> dict[str, Any]:
            messages = [{"role": "user", "content": build_prompt(number)}]
            return {"model": model, "messages": messages, "max_tokens": 6, **fields}

        return RequestKind("/v1/chat/completions", body)

    def text(**fields: Any) -> RequestKind:
        return RequestKind(
            "/v1/completions",
            lambda number: {"model": model, "prompt": build_prompt(number), "max_tokens": 6, **fields},
        )

    schema = {"type": "json_schema", "json_schema": {"name": "paint", "schema": _SCHEMA, "strict": True}}
    return {
        "chat": chat(),
        "chat stream with records": chat(stream=True, thermo={"records": True}),
        "chat with a schema": chat(response_format=schema, max_tokens=40),
        "text with log-probabilities": text(logprobs=5),
        "text with windows and penalties": text(temperature=0.7, top_p=0.9, presence_penalty=0.3, seed=1),
        "two texts with a stop": text(n=2, stop=["\n"]),
        "text by SMC": text(thermo={"sampler": "smc", "options": {"particles": 2}}),
        "embedding": RequestKind(
            "/v1/embeddings", lambda number: {"model": "all-minilm-l6-v2", "input": build_prompt(number)}
        ),
        "tokens": RequestKind("/tokenize", lambda number: {"model": model, "prompt": build_prompt(number)}),
        "refused": RequestKind(
            "/v1/completions", lambda number: {"model": model, "prompt": "x", "max_tokens": -number - 1}, 400
        ),
        "models": RequestKind("/v1/models", None),
        "metrics": RequestKind("/metrics", None),
    }


@dataclass
class MixedLoad:
    """Memory (GB) after numbers of requests, and the requests that were answered otherwise than is right, by kind."""

    counts: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    def slope(self, skip: float = 0.5) -> float:
        """Return the growth in KB for each request, by least squares over the requests after a share to skip."""
        counts, memory = np.asarray(self.counts, float), np.asarray(self.memory)
        late = counts >= skip * counts[-1]
        return float(np.polyfit(counts[late], 1e6 * memory[late], 1)[0])


def run_mixed_load(server: RunningServer, kinds: Mapping[str, RequestKind], requests: int) -> MixedLoad:
    """Make so many requests, kind after kind in turn, over `CONNECTIONS` connections that stay open.

    Raises:
        ModelError: the server ends or does not answer.
    """
    load, lock = MixedLoad(), threading.Lock()
    numbers: Iterator[int] = iter(range(requests))
    names = list(kinds)

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_SECONDS)
        while (number := _take_number(numbers, lock)) is not None:
            name = names[number % len(names)]
            answer = _make_request(connection, kinds[name], number)
            with lock:
                if answer is not None:
                    load.wrong.setdefault(name, answer)
                if number % max(1, min(_MEMORY_INTERVAL, requests // 8)) == 0 or number == requests - 1:
                    load.counts.append(number)
                    load.memory.append(server.read_memory())
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for job in [threads.submit(work) for _ in range(CONNECTIONS)]:
            job.result()
    return load


def _take_number(numbers: Iterator[int], lock: threading.Lock) -> int | None:
    with lock:
        return next(numbers, None)


def _make_request(connection: http.client.HTTPConnection, kind: RequestKind, number: int) -> str | None:
    """Make a request and read its response; return its status and text where the status is not the right one."""
    body = None if kind.build_body is None else json.dumps(kind.build_body(number))
    try:
        connection.request(
            "GET" if body is None else "POST", kind.path, body, {"Content-Type": "application/json"} if body else {}
        )
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(f"the server did not answer {kind.path} ({type(error).__name__}: {error}).") from error
    return None if response.status == kind.status else f"{response.status} {text[:200].decode(errors='replace')}"
