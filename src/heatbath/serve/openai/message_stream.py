"""The events of a message that is streamed in Anthropic's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from heatbath.serve.openai.generation import GenerationTask
from heatbath.serve.openai.outputs import ChoiceOutput, TokenTexts
from heatbath.serve.openai.request_context import encode_json
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.messages import MessageResponse, TextBlock, ToolUseBlock
from heatbath.serve.openai.sse import Outbox
from heatbath.serve.openai.streaming import ResponseHead, StreamWriter
from heatbath.serve.openai.tool_calls import ArgumentsDelta, CallStart, Delta, TextDelta, ToolCallReader


class MessageSource(Protocol):
    """The responder that a stream belongs to; `has_tools`: the text may hold calls."""

    @property
    def has_tools(self) -> bool: ...

    def build_message(self, output: ChoiceOutput, has_calls: bool) -> MessageResponse:
        """Return the message so far, without its content."""


def encode_event(kind: str, **fields: Any) -> bytes:
    """Return an event with its type, as Anthropic's API writes it."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode_json({"type": kind, **fields}))


class MessageStreamWriter(StreamWriter[ChatRequest]):
    """Writes the events of one message: a block of text, and a block for each call of a tool, one after the other."""

    object = "message"

    def __init__(
        self,
        body: ChatRequest,
        task: GenerationTask,
        head: ResponseHead,
        texts: TokenTexts,
        *,
        source: MessageSource,
    ) -> None:
        super().__init__(body, task, head, texts)
        self._source = source
        self._reader = ToolCallReader() if source.has_tools else None
        self._text_only = False
        self._choice = ChoiceOutput()
        self._num_blocks = 0
        self._open: type[Delta] | None = None

    def start(self, prompt: int) -> bytes:
        message = self._source.build_message(ChoiceOutput(), False)
        return encode_event("message_start", message=message) + encode_event("ping")

    def text(self, index: int, text: str) -> bytes:
        return self.content(index, text, ChoiceOutput())

    def content(self, index: int, text: str, newest: ChoiceOutput) -> bytes:
        if self._reader is None:
            return self._write_delta(TextDelta(text)) if text else b""
        return b"".join(map(self._write_delta, self._reader.push(text)))

    def finish(self, index: int, choice: ChoiceOutput) -> bytes:
        self._choice = choice
        rest = b"" if self._reader is None else b"".join(map(self._write_delta, self._reader.finish()))
        return rest + self._close_block()

    def write_end(self, outbox: Outbox, thermo: Mapping[str, Any] | None, stored: bool | None) -> None:
        """Put why the message ended, its usage and thermo, whether it is stored, and the end."""
        message = self._source.build_message(self._choice, self._reader is not None and self._reader.has_complete_calls)
        delta = {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence}
        described = {**_plain_thermo(message), **(thermo or {})}
        more = {"thermo": described} if described else {}
        comment = b"" if stored is None else b": stored=%b\n\n" % (b"true" if stored else b"false")
        last = encode_event("message_delta", delta=delta, usage=message.usage, **more)
        outbox.put(last + comment + encode_event("message_stop"))

    def _write_delta(self, delta: Delta) -> bytes:
        if isinstance(delta, CallStart):
            id = f"{tool_use_prefix(self.task)}_{delta.index}"
            return self._open_block(ArgumentsDelta, ToolUseBlock(id=id, name=delta.name, input={}))
        if isinstance(delta, ArgumentsDelta):
            return self._block_delta({"type": "input_json_delta", "partial_json": delta.text})
        opening = b"" if self._open is TextDelta else self._open_block(TextDelta, TextBlock(text=""))
        return opening + self._block_delta({"type": "text_delta", "text": delta.text})

    def _open_block(self, kind: type[Delta], block: TextBlock | ToolUseBlock) -> bytes:
        before, self._open = self._close_block(), kind
        return before + encode_event("content_block_start", index=self._num_blocks, content_block=block)

    def _block_delta(self, delta: Mapping[str, str]) -> bytes:
        return encode_event("content_block_delta", index=self._num_blocks, delta=delta)

    def _close_block(self) -> bytes:
        if self._open is None:
            return b""
        self._open, self._num_blocks = None, self._num_blocks + 1
        return encode_event("content_block_stop", index=self._num_blocks - 1)


def tool_use_prefix(task: GenerationTask) -> str:
    """Return what the ids of the calls of one message begin with."""
    return f"toolu_{task.plan.info.id}"


def _plain_thermo(message: MessageResponse) -> dict[str, Any]:
    return {} if message.thermo is msgspec.UNSET else dict(message.thermo)
