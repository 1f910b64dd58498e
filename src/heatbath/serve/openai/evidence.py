"""The documents of a request: searched for when its trigger says so, shown in its prompt, and measured afterwards."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from heatbath.engine.base import ComponentSpec, Request
from heatbath.retrieval.citations import remove_unsupported
from heatbath.retrieval.evidence_prompt import Encode, EvidencePrompt
from heatbath.retrieval.triggers import Trigger
from heatbath.serve.confidence import build_trace
from heatbath.serve.errors import invalid_value
from heatbath.serve.indexes import SearchResult, ServedIndexes
from heatbath.serve.openai.evidence_measurement import EvidenceMeasurement
from heatbath.serve.openai.generation import GenerationTask
from heatbath.serve.openai.outputs import WITHHELD, ChoiceOutput, PromptOutput
from heatbath.serve.openai.prompts import chat_prompt
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.chat import ChatRequest, Message, TextPart, Tool
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.retrieval import RetrievalOptions, TriggerOptions
from heatbath.serve.openai.search import describe_passages, require_indexes, search_index

Tokens = tuple[int, ...]

PARAM = "thermo.retrieval"
RETRY_NOTE = "An earlier answer said what no passage supports:\n{claims}\nAnswer from the passages alone."
DEFAULT_SIGNAL = "entropy:mean"


@dataclass(frozen=True)
class SearchedTurn:
    """The turn of a request that documents are searched for.

    Attributes:
        question: its text.
        plain: the prompt without documents.
        encode: maps another text of the turn to the tokens of the prompt.
        reserve: tokens of the answer that the prompt must leave room for.
    """

    question: str
    plain: Tokens
    encode: Encode
    reserve: int


@dataclass
class RequestEvidence:
    """The documents of one request.

    Attributes:
        prompt: the question and the passages, none before the search.
        result: what was found; None without a search.
        value: the signal of the draft, where the trigger needs one.
        drafts: answers that were generated and not given.
    """

    context: RequestContext
    options: RetrievalOptions
    indexes: ServedIndexes
    index: str
    trigger: Trigger
    turn: SearchedTurn
    prompt: EvidencePrompt
    result: SearchResult | None = None
    measurement: EvidenceMeasurement | None = None
    value: float | None = None
    drafts: int = 0
    dropped: int = 0
    _own_fields: Sequence[ComponentSpec] = ()

    async def search(self) -> Tokens:
        """Search, and return the tokens of the prompt with as many passages as leave room for an answer."""
        query = self.options.query or self.prompt.question
        self.result = await search_index(self.context, self.index, query, self.options)
        self.prompt = replace(self.prompt, passages=tuple(hit.passage for hit in self.result.hits))
        return await asyncio.to_thread(self._fit_prompt)

    def _fit_prompt(self) -> Tokens:
        length = self.context.language.context_length
        tokens = self._encode_prompt()
        while length is not None and len(tokens) + self.turn.reserve > length and self.prompt.passages:
            self.prompt = replace(self.prompt, passages=self.prompt.passages[:-1])
            self.dropped += 1
            tokens = self._encode_prompt()
        return tokens

    def _encode_prompt(self) -> Tokens:
        return self.prompt.encode(self.turn.encode)[0]

    def steer(self, request: Request) -> Request:
        """Return the request with the contrast of the documents, and the record that the trigger reads."""
        self._own_fields = request.fields
        if self.options.contrast is not None and self.prompt.passages:
            value = {"other": list(self.turn.plain), "gamma": 1.0 + self.options.contrast}
            request = replace(request, fields=(ComponentSpec("contrast", value), *request.fields))
        if self.trigger.needs_draft and request.record != "full":
            request = replace(request, record="full")
        return request

    async def complete(self, task: GenerationTask, outputs: list[PromptOutput]) -> list[PromptOutput]:
        """Search if the draft is uncertain, measure the support of what was generated, and do what was asked for then.

        Raises:
            ApiError, HeatbathError: what the engine or the index raises.
        """
        if self.trigger.needs_draft:
            self.value = measure_signal(outputs[0], self.trigger.signal, self.context)
            if self.trigger.fires(value=orient_signal(self.trigger.signal, self.value)):
                tokens = await self.search()
                outputs = await self._generate_again(task, tokens)
        if self.result is None:
            self.indexes.counts.untriggered += 1
        citations = self.options.citation_options
        if not self.prompt.passages or citations is None:
            return outputs
        assert self.result is not None
        self.measurement = EvidenceMeasurement(
            self.context, citations, self.prompt, self.result, self.turn.encode, self.indexes
        )
        await self.measurement.measure(outputs[0])
        if citations.unsupported == "retry" and (claims := self.measurement.list_unsupported(outputs[0])):
            outputs = await self._retry(task, claims)
        if citations.unsupported == "remove":
            for number, choice in outputs[0].choices.items():
                outputs[0].choices[number], count = remove_claims(choice)
                self.indexes.counts.unsupported += count
        self.measurement.report(outputs[0], self.context.tenant.name)
        return outputs

    async def _retry(self, task: GenerationTask, claims: Sequence[str]) -> list[PromptOutput]:
        """Generate once more, after a note of the claims that nothing supports, and measure that."""
        assert self.measurement is not None
        note = RETRY_NOTE.format(claims="\n".join(f"- {' '.join(claim.split())}" for claim in claims))
        self.prompt = replace(self.prompt, question=f"{self.prompt.question}\n\n{note}")
        tokens = await asyncio.to_thread(self._encode_prompt)
        outputs = await self._generate_again(task, tokens)
        self.measurement.prompt = self.prompt
        await self.measurement.measure(outputs[0])
        return outputs

    async def _generate_again(self, task: GenerationTask, tokens: Tokens) -> list[PromptOutput]:
        request, length = task.plan.requests[0], self.context.language.context_length
        room = request.max_tokens if length is None else min(request.max_tokens, length - len(tokens) + 1)
        if room < 1:
            raise invalid_value("the passages leave no room for an answer: ask for a smaller k.", f"{PARAM}.k")
        self.drafts += 1
        name = f"{request.id}.{self.drafts}"
        return await task.run_again(
            self.context.steer(replace(request, prompt=tokens, id=name, max_tokens=room, fields=self._own_fields))
        )

    def describe(self) -> dict[str, Any]:
        """Return what is said of the search in `thermo`."""
        found: dict[str, Any] = {"index": self.index, "searched": self.result is not None, "trigger": self.trigger.kind}
        if self.value is not None:
            found["signal"] = {"name": self.trigger.signal, "value": self.value, "threshold": self._raw_threshold}
        if self.result is not None:
            shown = self.result.hits[: len(self.prompt.passages)]
            found |= {"version": self.result.version, "dropped": self.dropped}
            found["passages"] = describe_passages(shown, with_text=False)
        if self.measurement is not None:
            found["relations"] = msgspec.to_builtins(self.measurement.relations)
        return {"retrieval": found | {"drafts": self.drafts}}

    @property
    def _raw_threshold(self) -> float | None:
        options = self.options.trigger
        return None if isinstance(options, str) else options.threshold


def remove_claims(choice: ChoiceOutput) -> tuple[ChoiceOutput, int]:
    """Return a choice without the claims that nothing supports, and their number; one without any text is withheld."""
    if choice.grounding is None or all(claim.is_supported for claim in choice.grounding.claims):
        return choice, 0
    text, claims = remove_unsupported(choice.text, choice.grounding.claims)
    count = len(choice.grounding.claims) - len(claims)
    grounding = replace(choice.grounding, claims=tuple(claims))
    finish = choice.finish if text else WITHHELD
    # The tokens of what was removed must not be seen among records and log-probabilities.
    return replace(choice, tokens=[], pieces=[text], finish=finish, stopped=None, grounding=grounding), count


def measure_signal(output: PromptOutput, name: str, context: RequestContext) -> float:
    """Return a signal of the first choice; NaN where it has no value."""
    from heatbath.trust.signals import Evidence, compute_signals

    tokens = next(iter(output.choices.values()), ChoiceOutput()).tokens
    if not tokens or any(token.record is None or "ground" not in token.record for token in tokens):
        return math.nan
    return compute_signals(Evidence(trace=build_trace(tokens, context.language)), [name])[name].value


def orient_signal(name: str, value: float) -> float:
    """Return a value of a signal so that more of it speaks against a right answer."""
    from heatbath.trust.signals import SIGNALS

    return -SIGNALS.find(name).spec.direction * value


def build_trigger(options: str | TriggerOptions) -> Trigger:
    """Return the trigger of a request. Raises `BadInput` for a signal that a server cannot measure."""
    if isinstance(options, str):
        return Trigger("always" if options == "always" else "never")
    if options.kind != "uncertainty":
        return Trigger(options.kind, rate=0.5 if options.rate is None else options.rate)
    from heatbath.trust.calibration.answer_records import require_answer_signals

    name = options.signal or DEFAULT_SIGNAL
    require_answer_signals([name])
    return Trigger("uncertainty", name, None if options.threshold is None else orient_signal(name, options.threshold))


async def _show_documents(context: RequestContext, options: RetrievalOptions, turn: SearchedTurn) -> Tokens:
    """Return the prompt to begin with: searched for now, unless a draft comes first or the trigger says no."""
    indexes = require_indexes(context, PARAM)
    name = indexes.resolve_name(context.tenant.name, options.index, f"{PARAM}.index")
    trigger = build_trigger(options.trigger)
    prompt = EvidencePrompt(turn.question, ())
    context.evidence = evidence = RequestEvidence(context, options, indexes, name, trigger, turn, prompt)
    if trigger.needs_draft or not trigger.fires(seed=secrets.randbits(32)):
        return turn.plain
    return await evidence.search()


async def search_for_chat(context: RequestContext, body: ChatRequest, plain: Tokens, tools: Sequence[Tool]) -> Tokens:
    """Search for the last turn of a conversation; return the tokens of the prompt with the passages before it.

    Raises:
        ApiError: 400 without a turn of the user, or for claims of an answer that is no text.
    """
    assert body.thermo is not None and body.thermo.retrieval is not None
    citations = body.thermo.retrieval.citation_options
    if tools and citations is not None:
        raise invalid_value(f"{PARAM}.citations measures text and tools are given: set it to false.", PARAM)
    if citations is not None and citations.unsupported == "remove" and body.response_format is not None:
        raise invalid_value(f'{PARAM}.citations removes parts of what has a format: choose "mark".', PARAM)
    place = next((i for i in range(len(body.messages) - 1, -1, -1) if body.messages[i].role == "user"), None)
    if place is None:
        raise invalid_value("there is no message of the user to search for: give one.", "messages")
    message = body.messages[place]

    def encode(text: str) -> Tokens:
        changed = msgspec.structs.replace(message, content=text)
        messages = [*body.messages[:place], changed, *body.messages[place + 1 :]]
        return chat_prompt(context.language, msgspec.structs.replace(body, messages=messages), tools)

    reserve = body.max_completion_tokens or body.max_tokens or 1
    turn = SearchedTurn(_read_text(message), plain, encode, reserve)
    return await _show_documents(context, body.thermo.retrieval, turn)


async def search_for_completion(
    context: RequestContext, body: CompletionRequest, prompts: Sequence[Tokens], reserve: int
) -> list[Tokens]:
    """Search for a prompt; return its tokens with the passages before it. Raises `ApiError` for several."""
    assert body.thermo is not None and body.thermo.retrieval is not None
    if not isinstance(body.prompt, str) or body.echo:
        what = "echo is true" if isinstance(body.prompt, str) else "prompt is not one text"
        raise invalid_value(f"{what} and {PARAM} searches for the text of one prompt: give that.", "prompt")

    def encode(text: str) -> Tokens:
        return tuple(context.language.encode(text))

    turn = SearchedTurn(body.prompt, prompts[0], encode, reserve)
    return [await _show_documents(context, body.thermo.retrieval, turn)]


def _read_text(message: Message) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content if isinstance(part, TextPart))
    return message.content or ""
