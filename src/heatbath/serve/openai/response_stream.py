"""The typed events of a streamed response, numbered, as server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from heatbath.serve.errors import ApiError
from heatbath.serve.openai.generation import GenerationTask
from heatbath.serve.openai.outputs import ChoiceOutput, TokenTexts, finish_reason
from heatbath.serve.openai.request_context import encode_json
from heatbath.serve.openai.response_output import OutputBuilder, StreamEvent
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.response_objects import ItemStatus, ResponseFailure, ResponseObject
from heatbath.serve.openai.sse import Outbox
from heatbath.serve.openai.streaming import END, ResponseHead, StreamWriter, random_padding

_FAILURES = {429: "rate_limit_exceeded"}


class ResponseSource(Protocol):
    """The response that a stream reports, and the builder of its output."""

    @property
    def builder(self) -> OutputBuilder:
        """The builder of the output."""

    @property
    def response(self) -> ResponseObject:
        """The response so far."""

    def add_thermo(self, thermo: Mapping[str, Any] | None) -> ResponseObject:
        """Return the finished response with the figures of the sampler."""


class ResponseStreamWriter(StreamWriter[ChatRequest]):
    """Writes the events of one response."""

    object = "response"

    def __init__(
        self, body: ChatRequest, task: GenerationTask, head: ResponseHead, texts: TokenTexts, *, source: ResponseSource
    ) -> None:
        super().__init__(body, task, head, texts)
        self._source = source
        self._text_only = False
        self._newest = ChoiceOutput()
        self.num_events = 0

    def start(self, prompt: int) -> bytes:
        response = self._source.response
        return self._encode({"type": f"response.{kind}", "response": response} for kind in ("created", "in_progress"))

    def text(self, index: int, text: str) -> bytes:
        return self.content(index, text, ChoiceOutput())

    def content(self, index: int, text: str, newest: ChoiceOutput) -> bytes:
        self._newest.tokens += newest.tokens
        return self._encode(self._source.builder.push(text, self.scored_tokens(index, text, newest)))

    def finish(self, index: int, choice: ChoiceOutput) -> bytes:
        return self._encode(self._source.builder.finish(item_status(choice), file_annotations(choice)))

    def write_end(self, outbox: Outbox, thermo: Mapping[str, Any] | None, stored: bool | None) -> None:
        """Put the event that ends the response, whether it is stored, and the end."""
        response = self._source.add_thermo(thermo)
        last = {"type": f"response.{response.status}", "response": response}
        outbox.put(self._encode([last]) + END[stored])

    def write_failure(self, outbox: Outbox, error: ApiError) -> None:
        """Put the event that ends a response which failed."""
        response = self._source.response
        code = "server_error" if error.status >= 500 else _FAILURES.get(error.status, "invalid_prompt")
        response.status, response.error = "failed", ResponseFailure(code, error.message)
        outbox.put(self._encode([{"type": "response.failed", "response": response}]))

    def _encode(self, events: Iterable[StreamEvent]) -> bytes:
        encoded = []
        for event in events:
            more = b""
            if event["type"].endswith(".delta"):
                more = self._delta_extras()
            number = b',"sequence_number":%d' % self.num_events
            self.num_events += 1
            body = encode_json(event)[:-1] + number + more
            encoded.append(b"event: %b\ndata: %b}\n\n" % (event["type"].encode(), body))
        return b"".join(encoded)

    def _delta_extras(self) -> bytes:
        """Return ids and records of the tokens since the last delta, as far as they were asked for, and padding."""
        extras = self.token_extras(self._newest) if self._newest.tokens else b""
        self._newest = ChoiceOutput()
        if self._options.include_obfuscation:
            extras += b',"obfuscation":' + encode_json(random_padding())
        return extras


def file_annotations(choice: ChoiceOutput) -> Sequence[dict[str, Any]]:
    """Return the annotations of what a choice cites; none without documents."""
    return () if choice.grounding is None else choice.grounding.file_annotations


def item_status(choice: ChoiceOutput) -> ItemStatus:
    """Return the status of what a choice ended with."""
    return "completed" if finish_reason(choice) == "stop" else "incomplete"
