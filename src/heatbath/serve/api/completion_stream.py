"""The chunks of streamed completions."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from heatbath.engine.base import Event, Started, TokensGenerated
from heatbath.serve.api.answering import finish_of, stop_reason, tail, usage_of
from heatbath.serve.api.call import Call
from heatbath.serve.api.chunks import Chunks, Head, encode
from heatbath.serve.api.exchange import Exchange
from heatbath.serve.api.gathered import Answer
from heatbath.serve.api.logprobs import Legacy, Speller
from heatbath.serve.api.schema.completions import CompletionRequest
from heatbath.serve.api.sse import Outbox
from heatbath.serve.api.summaries import columns
from heatbath.serve.api.thermo import closing

_PLAIN = b',"logprobs":null,"finish_reason":null'


class CompletionStream:
    """Writes the chunks of completions as they grow."""

    def __init__(
        self,
        call: Call,
        asked: CompletionRequest,
        exchange: Exchange,
        written: tuple[Head, Speller],
        shown: Sequence[str],
    ) -> None:
        self.call, self.asked, self.exchange, self._shown = call, asked, exchange, shown
        head, self.spell = written
        self.chunks = Chunks(head, "text_completion", asked.stream_options, lambda: usage_of(exchange.gathered))
        self._n = exchange.order.n
        self._legacy: dict[int, Legacy] = {}
        self._plain = asked.logprobs is None and not (asked.thermo or asked.return_token_ids)

    def take(self, outbox: Outbox, prompt: int, step: Event) -> None:
        """What a step adds goes into the outbox."""
        if isinstance(step, TokensGenerated):
            data = self.grown(prompt, step)
            if data:
                outbox.put(data)
        elif isinstance(step, Started) and self.asked.echo:
            outbox.put(self.echoed(prompt))

    def echoed(self, prompt: int) -> bytes:
        """The chunks that repeat a prompt."""
        began = self.exchange.gathered[prompt].began
        answer = Answer(list(began.scored_prompt) if began else [], [self._shown[prompt]])
        indices = range(prompt * self._n, prompt * self._n + self._n)
        return b"".join(self._piece(index, answer.text, Answer(answer.tokens), echo=True) for index in indices)

    def replayed(self, prompt: int, given: Sequence[Answer]) -> bytes:
        """All chunks of answers that are known in full."""
        echoed = [self.echoed(prompt)] if self.asked.echo else []
        steps = [
            TokensGenerated(i, answer.tokens, answer.text, answer.finish, answer.stopped)
            for i, answer in enumerate(given)
        ]
        return b"".join([*echoed, *(self.grown(prompt, step) for step in steps)])

    def ended(self, prompt: int, given: Sequence[Answer]) -> bytes:
        """The ends of answers that never grew."""
        ends = [(prompt * self._n + i, answer) for i, answer in enumerate(given) if not answer.tokens]
        return b"".join(self._finish(index, answer) for index, answer in ends)

    def grown(self, prompt: int, step: TokensGenerated) -> bytes:
        """The chunks of one step of one answer."""
        index = prompt * self._n + step.choice
        if step.finish_reason is None and self._plain:
            return self._text(index, step.text)
        answer = Answer(list(step.tokens), [step.text], step.finish_reason, step.stop_reason)
        text = step.text + tail(answer, self.asked, self.spell)
        content = self._piece(index, text, answer)
        if step.finish_reason is None:
            return content
        return content + self._finish(index, self.exchange.gathered[prompt].answers.get(step.choice) or answer)

    def _text(self, index: int, text: str) -> bytes:
        return self.chunks.choice(index, b'"text":' + encode(text) + _PLAIN) if text else b""

    def _piece(self, index: int, text: str, answer: Answer, echo: bool = False) -> bytes:
        if self._plain or not answer.tokens:
            return self._text(index, text)
        body = b'"text":' + encode(text)
        logprobs = None
        if self.asked.logprobs is not None:
            legacy = self._legacy.setdefault(index, Legacy(self.spell, self.asked.logprobs))
            logprobs = legacy(answer.tokens)
        body += b',"logprobs":' + encode(logprobs) + b',"finish_reason":null'
        if self.asked.return_token_ids and not echo:
            body += b',"token_ids":' + encode([token.id for token in answer.tokens])
        if self.asked.thermo and self.asked.thermo.records and not echo:
            body += b',"thermo":' + encode({"records": columns(answer.tokens, self.spell)})
        return self.chunks.choice(index, body)

    def _finish(self, index: int, answer: Answer) -> bytes:
        body = b'"text":"","logprobs":null,"finish_reason":' + encode(finish_of(answer))
        reason = stop_reason(answer, self.asked)
        if reason is not UNSET:
            body += b',"stop_reason":' + encode(reason)
        if self.asked.thermo:
            body += b',"thermo":' + encode(closing(answer, self.call.services.phase_map))
        return self.chunks.choice(index, body)
