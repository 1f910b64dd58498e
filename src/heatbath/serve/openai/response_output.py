"""The output items of a response, built while tokens arrive, and the events that report how they grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from heatbath.engine.base import Token
from heatbath.serve.openai.logprobs import chat_logprobs
from heatbath.serve.openai.outputs import TokenTexts
from heatbath.serve.openai.schema.response_bodies import TokenLogprob
from heatbath.serve.openai.schema.response_objects import ItemStatus, OutputCall, OutputItem, OutputMessage, OutputText
from heatbath.serve.openai.tool_calls import ArgumentsDelta, CallStart, TextDelta, ToolCallReader

StreamEvent = dict[str, Any]
"""An event of a stream, by its fields, but for its number."""


@dataclass
class OutputBuilder:
    """Builds output items from a text and its tokens; with a `reader` the text is parsed for calls.

    Attributes:
        id: the request's, from which those of the items are made.
        top: alternatives for each token, None where no log-probabilities are returned.
    """

    id: str
    texts: TokenTexts
    top: int | None = None
    reader: ToolCallReader | None = None
    items: list[OutputItem] = field(default_factory=list)
    is_complete: bool = False
    _pieces: list[str] = field(default_factory=list)
    _waiting: list[Token] = field(default_factory=list)
    _missing_bytes: int = 0
    _has_calls: bool = False

    def push(self, text: str, tokens: Sequence[Token]) -> Iterator[StreamEvent]:
        """Add `text`, which became readable with `tokens`, and yield the events."""
        if self.top is not None and not self._has_calls:
            self._waiting += tokens
        if self.reader is not None:
            for delta in self.reader.push(text):
                yield from self._add(delta)
        elif text:
            yield from self._add(TextDelta(text))

    def finish(self, status: ItemStatus, annotations: Sequence[dict[str, Any]] = ()) -> Iterator[StreamEvent]:
        """End the last item with `status`, but for a call that is whole, and yield the events.

        A response without any text has a message without text. `annotations` are those of the message, if it is last.
        """
        for delta in () if self.reader is None else self.reader.finish():
            yield from self._add(delta)
        if not self.items:
            yield from self._open_message()
        yield from self._annotate(annotations)
        is_whole = isinstance(self.items[-1], OutputCall) and self.reader is not None and self.reader.has_complete_calls
        yield from self._close("completed" if is_whole else status)
        self.is_complete = True

    def _add(self, delta: TextDelta | CallStart | ArgumentsDelta) -> Iterator[StreamEvent]:
        if isinstance(delta, CallStart):
            yield from self._close("completed")
            yield from self._open_call(delta)
        elif isinstance(delta, ArgumentsDelta):
            self._pieces.append(delta.text)
            yield self._event("function_call_arguments.delta", delta=delta.text)
        else:
            if not self.items or isinstance(self.items[-1], OutputCall):
                yield from self._close("completed")
                yield from self._open_message()
            self._pieces.append(delta.text)
            logprobs = self._take_logprobs(delta.text)
            yield self._event("output_text.delta", content_index=0, delta=delta.text, logprobs=logprobs)

    def _open_message(self) -> Iterator[StreamEvent]:
        message = OutputMessage(id=self._item_id("msg"), status="in_progress", content=[])
        self.items.append(message)
        yield self._item_event("output_item.added", message)
        message.content = [OutputText(text="", annotations=[], logprobs=[])]
        yield self._event("content_part.added", content_index=0, part=OutputText(text=""))

    def _open_call(self, start: CallStart) -> Iterator[StreamEvent]:
        call_id = f"call_{self.id}_{start.index}"
        call = OutputCall(id=self._item_id("fc"), status="in_progress", call_id=call_id, name=start.name, arguments="")
        self.items.append(call)
        # The tokens from here on are those of calls.
        self._waiting.clear()
        self._has_calls = True
        yield self._item_event("output_item.added", call)

    def _close(self, status: ItemStatus) -> Iterator[StreamEvent]:
        if not self.items or self.items[-1].status != "in_progress":
            return
        item, text = self.items[-1], "".join(self._pieces)
        self._pieces.clear()
        item.status = status
        if isinstance(item, OutputCall):
            item.arguments = text
            yield self._event("function_call_arguments.done", name=item.name, arguments=text)
        else:
            (part,) = item.content
            if self.reader is None:
                # Tokens that showed no text, as parts of a character or of a stop.
                self._take_logprobs("")
            part.text = text
            yield self._event("output_text.done", content_index=0, text=text, logprobs=part.logprobs)
            yield self._event("content_part.done", content_index=0, part=part)
        yield self._item_event("output_item.done", item)

    def _annotate(self, annotations: Sequence[dict[str, Any]]) -> Iterator[StreamEvent]:
        item = self.items[-1]
        if isinstance(item, OutputMessage):
            for number, annotation in enumerate(annotations):
                item.content[0].annotations.append(annotation)
                more = {"content_index": 0, "annotation_index": number, "annotation": annotation}
                yield self._event("output_text.annotation.added", **more)

    def _take_logprobs(self, text: str) -> list[TokenLogprob]:
        """Move log-probabilities of waiting tokens to the message: those of `text`, or all where nothing else can be.

        Where calls may follow, tokens are counted by their bytes, since some of those that wait may belong to a call.
        """
        message = self.items[-1]
        assert isinstance(message, OutputMessage)
        taken = len(self._waiting)
        if self.reader is not None:
            self._missing_bytes += len(text.encode())
            taken = 0
            while taken < len(self._waiting) and self._missing_bytes > 0:
                self._missing_bytes -= self._num_bytes(self._waiting[taken])
                taken += 1
        tokens, self._waiting = self._waiting[:taken], self._waiting[taken:]
        logprobs = [] if self.top is None else chat_logprobs(tokens, self.texts, self.top).content or []
        message.content[0].logprobs += logprobs
        return logprobs

    def _num_bytes(self, token: Token) -> int:
        is_special = token.id in self.texts.language.vocabulary.special_token_ids
        return 0 if is_special else len(self.texts.text_and_bytes(token.id)[1])

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}_{self.id}_{len(self.items)}"

    def _event(self, kind: str, **fields: Any) -> StreamEvent:
        place = {"item_id": self.items[-1].id, "output_index": len(self.items) - 1}
        return {"type": f"response.{kind}", **place, **fields}

    def _item_event(self, kind: str, item: OutputItem) -> StreamEvent:
        return {"type": f"response.{kind}", "output_index": len(self.items) - 1, "item": item}
