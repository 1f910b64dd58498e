"""The chunks of a streamed chat."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from heatbath.engine.base import Event, Started, TokensGenerated
from heatbath.serve.api.answering import finish_of, stop_reason, tail, usage_of
from heatbath.serve.api.call import Call
from heatbath.serve.api.calls import Called, Calls, Given, Part, Said
from heatbath.serve.api.chunks import Chunks, Head, encode
from heatbath.serve.api.exchange import Exchange
from heatbath.serve.api.gathered import Answer
from heatbath.serve.api.logprobs import Speller, chat_logprobs
from heatbath.serve.api.schema.chat import ChatRequest
from heatbath.serve.api.sse import Outbox
from heatbath.serve.api.summaries import columns
from heatbath.serve.api.thermo import closing
from heatbath.serve.api.toolbox import Toolbox

_FIRST = b'"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null'
_TEXT = b'"delta":{"content":'
_OPEN = b',"finish_reason":null'


class ChatStream:
    """Writes the chunks of one chat as its answers grow."""

    def __init__(
        self, call: Call, asked: ChatRequest, box: Toolbox, exchange: Exchange, written: tuple[Head, Speller]
    ) -> None:
        self.call, self.asked, self.exchange = call, asked, exchange
        head, self.spell = written
        self.chunks = Chunks(head, "chat.completion.chunk", asked.stream_options, lambda: usage_of(exchange.gathered))
        self._n = exchange.order.n
        self._calls = [Calls() for _ in range(self._n)] if box.tools else None
        self._prefix = f"call_{exchange.order.ticket.id}"
        self._plain = not (asked.logprobs or asked.thermo or asked.return_token_ids or box.tools)

    def take(self, outbox: Outbox, prompt: int, step: Event) -> None:
        """What a step adds goes into the outbox."""
        if isinstance(step, TokensGenerated):
            data = self.grown(step)
            if data:
                outbox.put(data)
        elif isinstance(step, Started):
            outbox.put(self.first())

    def first(self) -> bytes:
        """The chunks that say whose words follow."""
        return b"".join(self.chunks.choice(i, _FIRST) for i in range(self._n))

    def replayed(self, given: Sequence[Answer]) -> bytes:
        """All chunks of answers that are known in full."""
        steps = [
            TokensGenerated(i, answer.tokens, answer.text, answer.finish, answer.stopped)
            for i, answer in enumerate(given)
        ]
        return b"".join([self.first(), *map(self.grown, steps)])

    def ended(self, given: Sequence[Answer]) -> bytes:
        """The ends of answers that never grew."""
        return b"".join(self._finish(i, answer) for i, answer in enumerate(given) if not answer.tokens)

    def grown(self, step: TokensGenerated) -> bytes:
        """The chunks of one step of one answer."""
        if step.finish_reason is not None:
            return self._content(step) + self._finish(step.choice, self._answer(step))
        if self._plain:
            if not step.text:
                return b""
            body = _TEXT + encode(step.text) + b'},"logprobs":null' + _OPEN
            return self.chunks.choice(step.choice, body)
        return self._content(step)

    def _answer(self, step: TokensGenerated) -> Answer:
        gathered = self.exchange.gathered[0].answers.get(step.choice)
        if gathered is None or gathered.finish is None or len(gathered.tokens) < len(step.tokens):
            return Answer(list(step.tokens), [step.text], step.finish_reason, step.stop_reason)
        return gathered

    def _content(self, step: TokensGenerated) -> bytes:
        answer = Answer(list(step.tokens), [step.text], step.finish_reason, step.stop_reason)
        text = step.text + tail(answer, self.asked, self.spell)
        more = self._more(answer)
        if self._calls is not None:
            return self._parts(step, text, more)
        if not text and not more:
            return b""
        delta = b'"delta":' + encode({"content": text})
        return self.chunks.choice(step.choice, delta + (more or b',"logprobs":null') + _OPEN)

    def _more(self, answer: Answer) -> bytes:
        """What was asked for with each token; nothing if there is none."""
        whole = self.asked.thermo or self.asked.return_token_ids
        if not answer.tokens or not (whole or (self.asked.logprobs and answer.spoken)):
            return b""
        top = self.asked.top_logprobs or 0
        logprobs = chat_logprobs(answer.spoken, self.spell, top) if self.asked.logprobs else None
        found = b',"logprobs":' + encode(logprobs)
        if self.asked.return_token_ids:
            found += b',"token_ids":' + encode([token.id for token in answer.tokens])
        if self.asked.thermo and self.asked.thermo.records:
            found += b',"thermo":' + encode({"records": columns(answer.tokens, self.spell)})
        return found

    def _parts(self, step: TokensGenerated, text: str, more: bytes) -> bytes:
        assert self._calls is not None
        reader = self._calls[step.choice]
        parts = reader.read(text) + (reader.rest() if step.finish_reason is not None else [])
        deltas = [_delta(part, f"{self._prefix}_{step.choice}") for part in parts]
        if not deltas and more:
            deltas = [b"{}"]
        # What came with the tokens is said once, with the first of the pieces that they make.
        extras = [more, *[b""] * len(deltas)]
        pieces = zip(deltas, extras, strict=False)
        bodies = (b'"delta":' + delta + (extra or b',"logprobs":null') + _OPEN for delta, extra in pieces)
        return b"".join(self.chunks.choice(step.choice, body) for body in bodies)

    def _finish(self, choice: int, answer: Answer) -> bytes:
        finish: str = finish_of(answer)
        if self._calls is not None and self._calls[choice].count and finish == "stop":
            finish = "tool_calls"
        body = b'"delta":{},"logprobs":null,"finish_reason":' + encode(finish)
        reason = stop_reason(answer, self.asked)
        if reason is not UNSET:
            body += b',"stop_reason":' + encode(reason)
        if self.asked.thermo:
            body += b',"thermo":' + encode(closing(answer, self.call.services.phase_map))
        return self.chunks.choice(choice, body)


def _delta(part: Part, prefix: str) -> bytes:
    if isinstance(part, Said):
        return encode({"content": part.text})
    if isinstance(part, Called):
        function = {"name": part.name, "arguments": ""}
        call = {"index": part.index, "id": f"{prefix}_{part.index}", "type": "function", "function": function}
    else:
        assert isinstance(part, Given)
        call = {"index": part.index, "function": {"arguments": part.text}}
    return encode({"tool_calls": [call]})
