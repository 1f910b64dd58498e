"""Load from many streams at once against a server on this machine, and the arrival times of their tokens.

The client shares the machine with the server, so it does little: a socket and a few searches in bytes per event.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import ModelError

Floats = NDArray[np.float64]
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class StreamCall:
    """A POST to `path` with a JSON `body` that asks for a stream, and further `headers`."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode_request(self, port: int) -> bytes:
        """Return the bytes of the request. The connection is closed after it."""
        body = json.dumps(self.body).encode()
        head = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [f"{name}: {value}" for name, value in (head | {"Connection": "close"} | dict(self.headers)).items()]
        return "\r\n".join([f"POST {self.path} HTTP/1.1", *lines, "", ""]).encode() + body


@dataclass(frozen=True)
class StreamReply:
    """Seconds from the request to each token's arrival, and the number of tokens.

    A token may share an event with others: `tokens` is the server's own count where it gives one. `start` is the time
    of the request on the clock of `time.perf_counter`.
    """

    arrivals: Sequence[float]
    tokens: int
    seconds: float
    start: float = 0.0


@dataclass(frozen=True)
class BurstSpeed:
    """Speed of a burst of streams.

    Attributes:
        tokens_per_second: of all streams, from the first request to the last token.
        arrivals: seconds from each request to each of its tokens.
    """

    tokens_per_second: float
    arrivals: Sequence[Sequence[float]]

    @property
    def first_token_seconds(self) -> list[float]:
        """Seconds to the first token of each stream."""
        return [stream[0] for stream in self.arrivals]

    def first_token_quantile(self, quantile: float) -> float:
        """Return a quantile over streams of the time to the first token, seconds."""
        return float(np.quantile(self.first_token_seconds, quantile))

    def compute_delays(self, pace: float) -> Floats:
        """Return each token's delay beyond `pace` after the one before it (the request, for a first one), seconds."""
        return np.concatenate([np.diff(stream, prepend=0.0) for stream in self.arrivals]) - pace


class ChunkedDecoder:
    """Decoder of a chunked HTTP/1.1 response into the events of its body, without the empty line between them."""

    def __init__(self) -> None:
        self.status = 0
        self._raw, self._body, self._chunk_bytes_left, self._is_complete = b"", b"", 0, False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that `data` completes; for a response that is not a stream see `remainder`."""
        self._raw += data
        if not self.status:
            head, found, tail = self._raw.partition(b"\r\n\r\n")
            if not found:
                return []
            self.status, self._raw = int(head.split(b" ", 2)[1]), tail
            if b"chunked" not in head.lower():
                self._chunk_bytes_left = 1 << 62
        self._decode_chunks()
        *events, self._body = self._body.split(b"\n\n")
        return events

    @property
    def remainder(self) -> bytes:
        """Bytes received after the last complete event."""
        return self._body

    def _decode_chunks(self) -> None:
        while self._raw and not self._is_complete:
            if self._chunk_bytes_left <= 0:
                size, found, tail = self._raw.removeprefix(b"\r\n").partition(b"\r\n")
                if not found:
                    return
                self._chunk_bytes_left, self._raw = int(size, 16), tail
                self._is_complete = not self._chunk_bytes_left
            taken, self._raw = self._raw[: self._chunk_bytes_left], self._raw[self._chunk_bytes_left :]
            self._body += taken
            self._chunk_bytes_left -= len(taken)


class _Stream(asyncio.Protocol):
    """One request, from its first byte to the end of the connection."""

    def __init__(self, request: bytes, reply: asyncio.Future[StreamReply]) -> None:
        self._request, self._reply = request, reply
        self._events, self._usage = ChunkedDecoder(), 0
        self._arrivals: list[float] = []
        self._start = time.perf_counter()
        self._is_complete = False

    @property
    def has_begun(self) -> bool:
        """Return True if a token has come."""
        return bool(self._arrivals)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter() - self._start
        for event in self._events.feed(data):
            if event.startswith(b"data: {"):
                self._handle_event(event, now)
            self._is_complete |= event.startswith(b"data: [DONE]")

    def _handle_event(self, event: bytes, now: float) -> None:
        if self._arrivals and b'"usage":{' not in event and b'"usage": {' not in event:
            self._arrivals.append(now)
            return
        chunk = json.loads(event[6:])
        if "error" in chunk:
            self._fail(f"a stream failed: {chunk['error']}")
        self._usage = (chunk.get("usage") or {}).get("completion_tokens", self._usage)
        # transformers sends nothing after the chunk with the finish reason and the usage.
        self._is_complete |= bool(
            self._usage and any(choice.get("finish_reason") for choice in chunk.get("choices", ()))
        )
        if any(_find_text(choice) for choice in chunk.get("choices", ())):
            self._arrivals.append(now)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply.done():
            return
        if not self._is_complete or self._events.status != 200:
            text = self._events.remainder[:300].decode(errors="replace")
            self._fail(f"the server answered {self._events.status} and its stream did not end well: {text}")
        else:
            tokens = self._usage or len(self._arrivals)
            seconds = time.perf_counter() - self._start
            self._reply.set_result(StreamReply(self._arrivals, tokens, seconds, self._start))

    def _fail(self, message: str) -> None:
        if not self._reply.done():
            self._reply.set_exception(ModelError(message))


def _find_text(choice: Mapping[str, Any]) -> Any:
    delta = choice.get("delta")
    return choice.get("text") if delta is None else delta.get("content")


async def run_burst(port: int, calls: Sequence[StreamCall], *, spread: float = 0.0) -> list[StreamReply]:
    """Make all calls at once, each on a connection of its own, started evenly within `spread` seconds.

    Raises:
        ModelError: one of them fails.
    """

    async def one(place: int, call: StreamCall) -> StreamReply:
        await asyncio.sleep(spread * place / len(calls))
        return await _run_call(port, call)

    return list(await asyncio.gather(*map(one, range(len(calls)), calls)))


async def _run_call(
    port: int, call: StreamCall, on_connect: Callable[[_Stream], object] = lambda _: None
) -> StreamReply:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[StreamReply] = loop.create_future()
    try:
        transport, stream = await loop.create_connection(
            lambda: _Stream(call.encode_request(port), done), "127.0.0.1", port
        )
    except OSError as error:
        raise ModelError(f"the server takes no connection on port {port}: {error}.") from error
    on_connect(stream)
    try:
        return await asyncio.wait_for(done, _TIMEOUT_SECONDS)
    except TimeoutError:
        raise ModelError(f"a stream did not end in {_TIMEOUT_SECONDS:g} s.") from None
    finally:
        transport.close()


def measure_speed(port: int, calls: Sequence[StreamCall], *, spread: float = 0.0) -> BurstSpeed:
    """Return the speed of a burst, on an event loop of its own."""
    start = time.perf_counter()
    replies = asyncio.run(run_burst(port, calls, spread=spread))
    seconds = time.perf_counter() - start
    return BurstSpeed(sum(reply.tokens for reply in replies) / seconds, [reply.arrivals for reply in replies])


def measure_gaps(port: int, calls: Sequence[StreamCall], late: StreamCall) -> Floats:
    """Return the seconds between tokens of streams while the prompt of a late call is read.

    The late call is made when every stream has had a token. A gap counts if it overlaps the time until the late call's
    first token: with all gaps of the streams, one long one in each would be less than a percent of them.

    Raises:
        ModelError: a call fails, or no stream lasts until the late call.
    """
    replies, latest = asyncio.run(_run_with_late_call(port, calls, late))
    sent, answered = latest.start, latest.start + latest.arrivals[0]
    gaps: list[float] = []
    for reply in replies:
        times = reply.start + np.asarray(reply.arrivals)
        gaps += np.diff(times)[(times[1:] > sent) & (times[:-1] < answered)].tolist()
    if not gaps:
        raise ModelError("the streams ended before the late prompt came: ask for longer ones.")
    return np.asarray(gaps)


async def _run_with_late_call(
    port: int, calls: Sequence[StreamCall], late: StreamCall
) -> tuple[list[StreamReply], StreamReply]:
    streams: list[_Stream] = []
    tasks = [asyncio.ensure_future(_run_call(port, call, streams.append)) for call in calls]
    try:
        while not any(task.done() for task in tasks):
            if len(streams) == len(calls) and all(stream.has_begun for stream in streams):
                break
            await asyncio.sleep(0.01)
        latest = await _run_call(port, late)
        return list(await asyncio.gather(*tasks)), latest
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
