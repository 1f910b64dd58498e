"""The chunks of streamed chat and completions. The bytes that all chunks share are encoded once."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec import UNSET

from heatbath.engine.base import Event, Started, Token, TokensGenerated
from heatbath.serve.openai.generation import GenerationTask
from heatbath.serve.openai.logprobs import CompletionLogprobs, TextTokens, chat_logprobs, scored_tokens
from heatbath.serve.openai.outputs import (
    ChoiceOutput,
    TokenTexts,
    finish_reason,
    record_columns,
    stop_reason,
    stop_token_text,
    usage,
)
from heatbath.serve.openai.request_context import encode_json
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.sampling import GenerationRequest, StreamOptions
from heatbath.serve.openai.sse import Outbox
from heatbath.serve.openai.thermo import choice_summary
from heatbath.serve.openai.tool_calls import ArgumentsDelta, CallStart, Delta, TextDelta, ToolCallReader

B = TypeVar("B", bound=GenerationRequest)

DONE = b"data: [DONE]\n\n"
END = {None: DONE, True: b": stored=true\n\n" + DONE, False: b": stored=false\n\n" + DONE}
"""The end of a stream, by whether its response is stored."""
_FIRST_DELTA = b'"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null'
_NO_LOGPROBS = b',"logprobs":null'
_UNFINISHED = b',"finish_reason":null'


@dataclass(frozen=True)
class ResponseHead:
    """The fields that all chunks and the complete response share."""

    id: str
    created: int
    model: str
    fingerprint: str


def random_padding() -> str:
    """Return a text of random length, so that the size of a chunk does not tell that of a token."""
    return secrets.token_urlsafe(24)[: secrets.randbelow(25)]


class StreamWriter(ABC, Generic[B]):
    """Writes the chunks of one response. A subclass says what a chunk of its endpoint looks like.

    Choice k of prompt i has the index i * n + k.
    """

    object: str
    last_delta: bytes
    """The content of the chunk that ends a choice."""
    holds_ends = False
    """Choices end when all is generated, since more will be known of them then."""

    def __init__(self, body: B, task: GenerationTask, head: ResponseHead, texts: TokenTexts) -> None:
        self.body, self.task, self.texts = body, task, texts
        self.thermo = body.thermo
        shared = {"id": head.id, "object": self.object, "created": head.created, "model": head.model}
        start = encode_json({**shared, "system_fingerprint": head.fingerprint})[:-1]
        self._front = b"data: " + start + b',"choices":[{"index":'
        self._closing = b"data: " + start + b',"choices":[]'
        self._options = options = body.stream_options or StreamOptions()
        varies = options.continuous_usage_stats or options.include_obfuscation
        self._end = None if varies else b',"usage":null}\n\n' if options.include_usage else b"}\n\n"
        self._n = task.plan.n
        self._text_only = not (body.thermo or body.return_token_ids)
        self._text_tokens: dict[int, TextTokens] = {}
        self._ended: set[int] = set()
        self._bare: set[int] = set()

    def write_event(self, outbox: Outbox, prompt: int, step: Event) -> None:
        """Put the chunks of an event of the engine into the outbox."""
        if isinstance(step, TokensGenerated):
            outbox.put(self.tokens(prompt, step, self.task.outputs[prompt].choices[step.choice]))
        elif isinstance(step, Started):
            outbox.put(self.start(prompt))

    def write_rest(self, outbox: Outbox, prompt: int, choices: Sequence[ChoiceOutput], *, buffered: bool) -> None:
        """Put what was not streamed: all of the choices if they were `buffered`, else those that have not ended."""
        if buffered:
            rulings = enumerate([choice.ruling for choice in choices], start=prompt * self._n)
            self._bare |= {index for index, ruling in rulings if ruling is not None and not ruling.shows_prompt}
            outbox.put(self.start(prompt))
        for i, choice in enumerate(choices):
            index = prompt * self._n + i
            if index not in self._ended and (buffered or choice.pieces):
                step = TokensGenerated(i, choice.tokens, choice.text, choice.finish, choice.stopped)
                outbox.put(self.tokens(prompt, step, choice))
            if self.holds_ends or index not in self._ended:
                outbox.put(self.finish(index, choice))

    def write_end(self, outbox: Outbox, thermo: Mapping[str, Any] | None, stored: bool | None) -> None:
        """Put the chunk without choices, if it has anything to say, whether the response is stored, and the end."""
        more = b',"usage":' + encode_json(usage(self.task.outputs)) if self._options.include_usage else b""
        if thermo is not None:
            more += b',"thermo":' + encode_json(thermo)
        closing = self._closing + more + b"}\n\n" if more else b""
        outbox.put(closing + END[stored])

    def tokens(self, prompt: int, step: TokensGenerated, choice: ChoiceOutput) -> bytes:
        """Return the chunks of the tokens of `step`, which are the newest of `choice`."""
        index = prompt * self._n + step.choice
        if step.finish_reason is None:
            if self._text_only:
                return self.text(index, step.text) if step.text else b""
            return self.content(index, step.text, ChoiceOutput(list(step.tokens)))
        self._ended.add(index)
        newest = ChoiceOutput(list(step.tokens), [], step.finish_reason, step.stop_reason)
        text = step.text + stop_token_text(newest, self.body, self.texts)
        content = self.content(index, text, newest) if not self._text_only else self.text(index, text) if text else b""
        return content if self.holds_ends else content + self.finish(index, choice)

    @abstractmethod
    def start(self, prompt: int) -> bytes:
        """Return the chunks before the first token."""

    @abstractmethod
    def text(self, index: int, text: str) -> bytes:
        """Return a chunk of text alone."""

    @abstractmethod
    def content(self, index: int, text: str, newest: ChoiceOutput) -> bytes:
        """Return the chunks of new tokens and their text, with what was asked for of each token."""

    def finish(self, index: int, choice: ChoiceOutput) -> bytes:
        """Return the chunk that ends a choice."""
        delta = self.last_delta if choice.grounding is None else self.end_delta(choice)
        body = delta + b',"finish_reason":' + encode_json(self.finish_reason(index, choice))
        reason = stop_reason(choice, self.body)
        if reason is not UNSET:
            body += b',"stop_reason":' + encode_json(reason)
        if self.thermo or self.task.meter is not None or self.task.gate is not None:
            body += b',"thermo":' + encode_json(self._describe_end(choice))
        return self.chunk(index, body)

    def end_delta(self, choice: ChoiceOutput) -> bytes:
        """Return the content of the chunk that ends a choice with grounds."""
        return self.last_delta

    def _describe_end(self, choice: ChoiceOutput) -> dict[str, Any]:
        """Return the `thermo` of the chunk that ends a choice."""
        summary = choice_summary(choice, self.task.services.phase_map) if self.thermo else {}
        if choice.grounding is not None:
            summary |= choice.grounding.thermo
        return summary | self.task.describe_choice(choice)

    def finish_reason(self, index: int, choice: ChoiceOutput) -> str:
        """Return why a choice ended."""
        return finish_reason(choice)

    def token_extras(self, newest: ChoiceOutput) -> bytes:
        """Return the ids and records of new tokens, as far as they were asked for."""
        extras = b""
        if self.body.return_token_ids:
            extras += b',"token_ids":' + encode_json([token.id for token in newest.tokens])
        if self.thermo and self.thermo.record_mode:
            extras += b',"thermo":' + encode_json({"records": record_columns(newest.tokens, self.texts)})
        return extras

    def scored_tokens(self, index: int, text: str, newest: ChoiceOutput) -> Sequence[Token]:
        """Return the tokens whose log-probabilities come with new tokens and their text, as `scored_tokens` does."""
        if not self.body.stop or self.body.return_token_ids:
            return scored_tokens(newest, self.body, self.texts)
        if index not in self._text_tokens:
            self._text_tokens[index] = TextTokens(self.texts.language)
        return self._text_tokens[index].push(newest, text)

    def chunk(self, index: int, body: bytes, more: bytes = b"") -> bytes:
        """Return a chunk of one choice; `body` is what comes after its index, `more` what comes after the choice."""
        return b"%b%d,%b}]%b%b" % (self._front, index, body, more, self._end or self._varying_end())

    def _varying_end(self) -> bytes:
        end = b""
        if self._options.continuous_usage_stats:
            end = b',"usage":' + encode_json(usage(self.task.outputs))
        elif self._options.include_usage:
            end = b',"usage":null'
        if self._options.include_obfuscation:
            end += b',"obfuscation":' + encode_json(random_padding())
        return end + b"}\n\n"


class ChatStreamWriter(StreamWriter[ChatRequest]):
    """Writes the chunks of a chat; with tools the text is parsed for calls."""

    object = "chat.completion.chunk"
    last_delta = b'"delta":{},"logprobs":null'

    def __init__(
        self, body: ChatRequest, task: GenerationTask, head: ResponseHead, texts: TokenTexts, *, has_tools: bool
    ) -> None:
        super().__init__(body, task, head, texts)
        self._readers = [ToolCallReader() for _ in range(self._n)] if has_tools else None
        self._id_prefix = f"call_{task.plan.info.id}"
        self._text_only = self._text_only and not (body.logprobs or has_tools)

    def start(self, prompt: int) -> bytes:
        chunks, more = b"", b""
        if self.body.return_token_ids and self.task.outputs[prompt].shows_prompt:
            more = b',"prompt_token_ids":' + encode_json(self.task.outputs[prompt].prompt)
        for i in range(self._n):
            chunks += self.chunk(i, _FIRST_DELTA, b"" if i else more)
        return chunks

    def text(self, index: int, text: str) -> bytes:
        return self.chunk(index, b'"delta":{"content":' + encode_json(text) + b"}" + _NO_LOGPROBS + _UNFINISHED)

    def content(self, index: int, text: str, newest: ChoiceOutput) -> bytes:
        extras = self._extras(index, text, newest)
        if self._readers is not None:
            deltas = self._call_deltas(index, text, is_last=newest.finish is not None)
        else:
            deltas = [encode_json({"content": text})] if text or extras else []
        if not deltas and extras:
            deltas = [b"{}"]
        chunks = []
        for delta in deltas:
            chunks.append(self.chunk(index, b'"delta":' + delta + (extras or _NO_LOGPROBS) + _UNFINISHED))
            # What comes with the tokens is said once, with the first of the pieces that they make.
            extras = b""
        return b"".join(chunks)

    def _extras(self, index: int, text: str, newest: ChoiceOutput) -> bytes:
        """Return log-probabilities, ids and records of new tokens; nothing if none were asked for."""
        tokens = self.scored_tokens(index, text, newest) if self.body.logprobs else ()
        always = newest.tokens and (self.thermo or self.body.return_token_ids)
        if not (always or tokens):
            return b""
        logprobs = chat_logprobs(tokens, self.texts, self.body.top_logprobs or 0) if self.body.logprobs else None
        return b',"logprobs":' + encode_json(logprobs) + self.token_extras(newest)

    def _call_deltas(self, index: int, text: str, *, is_last: bool) -> list[bytes]:
        assert self._readers is not None
        reader = self._readers[index]
        deltas = reader.push(text) + (reader.finish() if is_last else [])
        return [_encode_delta(delta, f"{self._id_prefix}_{index}") for delta in deltas]

    def end_delta(self, choice: ChoiceOutput) -> bytes:
        if choice.grounding is None or not choice.grounding.url_annotations:
            return self.last_delta
        return b'"delta":{"annotations":' + encode_json(choice.grounding.url_annotations) + b'},"logprobs":null'

    def finish_reason(self, index: int, choice: ChoiceOutput) -> str:
        reason = finish_reason(choice)
        has_calls = self._readers is not None and self._readers[index].has_complete_calls
        return "tool_calls" if has_calls and reason == "stop" else reason


def _encode_delta(delta: Delta, id_prefix: str) -> bytes:
    if isinstance(delta, TextDelta):
        return encode_json({"content": delta.text})
    call: dict[str, Any] = {"index": delta.index}
    if isinstance(delta, CallStart):
        function = {"name": delta.name, "arguments": ""}
        call |= {"id": f"{id_prefix}_{delta.index}", "type": "function", "function": function}
    elif isinstance(delta, ArgumentsDelta):
        call["function"] = {"arguments": delta.text}
    return encode_json({"tool_calls": [call]})


class CompletionStreamWriter(StreamWriter[CompletionRequest]):
    """Writes the chunks of completions. `prompt_texts` are repeated where the request asks for it."""

    object = "text_completion"
    last_delta = b'"text":"","logprobs":null'

    def __init__(
        self,
        body: CompletionRequest,
        task: GenerationTask,
        head: ResponseHead,
        texts: TokenTexts,
        *,
        prompt_texts: Sequence[str],
    ) -> None:
        super().__init__(body, task, head, texts)
        self._prompt_texts = prompt_texts
        self._logprobs: dict[int, CompletionLogprobs] = {}
        self._text_only = self._text_only and body.logprobs is None

    def start(self, prompt: int) -> bytes:
        of_prompt, extras = self.task.outputs[prompt], b""
        if self.body.return_token_ids and of_prompt.shows_prompt:
            extras = b',"prompt_token_ids":' + encode_json(of_prompt.prompt)
        if not (self.body.echo or extras):
            return b""
        text = self._prompt_texts[prompt] if self.body.echo else ""
        scored = of_prompt.began.scored_prompt if self.body.echo and of_prompt.began else ()
        indices = [index for index in range(prompt * self._n, prompt * self._n + self._n) if index not in self._bare]
        return b"".join([self._piece(index, text, scored, extras, prompt=len(scored)) for index in indices])

    def text(self, index: int, text: str) -> bytes:
        return self.chunk(index, b'"text":' + encode_json(text) + _NO_LOGPROBS + _UNFINISHED)

    def content(self, index: int, text: str, newest: ChoiceOutput) -> bytes:
        tokens = self.scored_tokens(index, text, newest) if self.body.logprobs is not None else ()
        return self._piece(index, text, tokens, self.token_extras(newest))

    def _piece(self, index: int, text: str, tokens: Sequence[Token], extras: bytes, *, prompt: int = 0) -> bytes:
        """Return a chunk of text with the log-probabilities of `tokens`, the first `prompt` of them the prompt's."""
        if not (tokens or extras):
            return self.text(index, text) if text else b""
        logprobs = None
        if self.body.logprobs is not None:
            if index not in self._logprobs:
                self._logprobs[index] = CompletionLogprobs(self.texts, self.body.logprobs)
            logprobs = self._logprobs[index].append(tokens, prompt=prompt)
        fields = b'"text":' + encode_json(text) + b',"logprobs":' + encode_json(logprobs)
        return self.chunk(index, fields + _UNFINISHED + extras)
