"""The bytes of a stream's chunks. What is the same in all of them is written once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heatbath.serve.api.call import ENCODER
from heatbath.serve.api.schema.answers import Usage
from heatbath.serve.api.schema.sampling import StreamOptions

DONE = b"data: [DONE]\n\n"
encode = ENCODER.encode


@dataclass(frozen=True)
class Head:
    """What all chunks and the whole answer say alike."""

    id: str
    created: int
    model: str
    fingerprint: str


class Chunks:
    """Writes chunks of one stream. `usage` gives the counts so far, for those who want them in every chunk."""

    def __init__(self, head: Head, object_: str, options: StreamOptions | None, usage: Callable[[], Usage]) -> None:
        said = {"id": head.id, "object": object_, "created": head.created, "model": head.model}
        start = encode({**said, "system_fingerprint": head.fingerprint})[:-1]
        self._front = b"data: " + start + b',"choices":[{"index":'
        self._last = b"data: " + start + b',"choices":[]'
        self._options = options or StreamOptions()
        self._usage = usage
        self._plain = self._end() if self._same else b""

    @property
    def _same(self) -> bool:
        """Whether all chunks end alike."""
        return not (self._options.continuous_usage_stats or self._options.include_obfuscation)

    def choice(self, index: int, body: bytes) -> bytes:
        """A chunk of one choice, whose `body` is what comes after its index."""
        return b"%b%d,%b}]%b" % (self._front, index, body, self._plain or self._end())

    def closing(self, thermo: Mapping[str, Any] | None) -> bytes:
        """The chunk without choices that comes last, if there is anything for it to say."""
        usage = b',"usage":' + encode(self._usage()) if self._wants_usage else b""
        more = b',"thermo":' + encode(thermo) if thermo is not None else b""
        return self._last + usage + more + b"}\n\n" if usage or more else b""

    @property
    def _wants_usage(self) -> bool:
        return bool(self._options.include_usage)

    def _end(self) -> bytes:
        usage = b""
        if self._options.continuous_usage_stats:
            usage = b',"usage":' + encode(self._usage())
        elif self._wants_usage:
            usage = b',"usage":null'
        padding = b',"obfuscation":' + encode(_padding()) if self._options.include_obfuscation else b""
        return usage + padding + b"}\n\n"


def _padding() -> str:
    """A text of random length, so that the size of a chunk does not tell that of a token."""
    return secrets.token_urlsafe(24)[: secrets.randbelow(25)]


def stored_line(stored: bool | None) -> bytes:
    """The comment that says whether the answer is stored; none where it was not to be."""
    return b"" if stored is None else b": stored=%b\n\n" % (b"true" if stored else b"false")
