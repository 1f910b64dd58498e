"""Clients that ask a server without pause and note what it acknowledged: an answer that it says is stored."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from process import Running

CLIENTS = 8


@dataclass
class Heard:
    """What clients were told. `stored` are acknowledged answers, `loose` those that say they are not stored: id, text.

    `statuses` counts responses, `broken` those that ended without their end.
    """

    stored: dict[str, str] = field(default_factory=dict)
    loose: dict[str, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0

    def take(self, id: str, text: str, stored: bool) -> None:
        assert id not in self.stored and id not in self.loose, f"{id} was given twice"
        (self.stored if stored else self.loose)[id] = text


@contextlib.contextmanager
def talking(server: Running, clients: int = CLIENTS, **more: Any) -> Iterator[Heard]:
    """So many clients at work inside the block, every other one with streams. `more` goes into every request."""
    heard, over = Heard(), threading.Event()
    threads = [
        threading.Thread(target=_talk, args=(server, heard, over, random.Random(i), more), daemon=True)
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)


def until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def _talk(server: Running, heard: Heard, over: threading.Event, rng: random.Random, more: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    while not over.is_set():
        try:
            _ask(connection, heard, rng, more)
        except (OSError, http.client.HTTPException):
            heard.broken += 1
            connection.close()
            over.wait(0.02)
    connection.close()


def _ask(connection: http.client.HTTPConnection, heard: Heard, rng: random.Random, more: dict[str, Any]) -> None:
    stream, word = rng.random() < 0.5, f"{rng.getrandbits(64):x}"
    body = {"model": "mock", "messages": [{"role": "user", "content": word}], "max_tokens": rng.randint(1, 40)}
    asked = json.dumps({**body, "stream": stream, **more})
    connection.request("POST", "/v1/chat/completions", asked, {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        response.read()
    elif stream:
        _follow(response, heard)
    else:
        whole = json.loads(response.read())
        text = whole["choices"][0]["message"]["content"]
        heard.take(whole["id"], text, response.headers["x-heatbath-stored"] == "true")
    heard.statuses[response.status] += 1


def _follow(response: http.client.HTTPResponse, heard: Heard) -> None:
    """An answer counts when its last event has come, and as stored if a comment before that said so."""
    id, text, stored = "", "", False
    while line := response.readline():
        stored |= line.startswith(b": stored=true")
        if line.startswith(b"data: [DONE]"):
            response.read()
            return heard.take(id, text, stored)
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            if "error" in chunk:
                return None
            id = chunk["id"]
            text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    raise http.client.IncompleteRead(b"")
