"""The response of chat and completions: generate, select, store, and write in one piece or as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from heatbath.errors import BadInput
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.choice_judge import AnswerForm
from heatbath.serve.openai.generation import GenerationTask, Listener
from heatbath.serve.openai.logprobs import prompt_logprobs
from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput, TokenTexts, stop_reason, stop_token_text
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.response_review import ResponseReview, Selection, read_wait, respond_with_handle
from heatbath.serve.openai.sampling_params import request_param
from heatbath.serve.openai.schema.response_bodies import PromptLogprobs
from heatbath.serve.openai.schema.sampling import GenerationRequest, ThermoOptions
from heatbath.serve.openai.sse import Outbox
from heatbath.serve.openai.streaming import ResponseHead, StreamWriter
from heatbath.serve.openai.structured_output import OutputCheck, StructuredOutput
from heatbath.serve.openai.thermo import choice_thermo, response_thermo
from heatbath.serve.openai.tool_calls import parse_calls

B = TypeVar("B", bound=GenerationRequest)
C = TypeVar("C", bound=msgspec.Struct)


@dataclass(frozen=True)
class Responder(ABC, Generic[B, C]):
    """Responds to one request. A subclass says what a choice and the complete response of its endpoint look like.

    `by_likelihood`: of more choices than are returned the most likely are selected.
    """

    context: RequestContext
    body: B
    task: GenerationTask
    texts: TokenTexts
    head: ResponseHead
    by_likelihood: bool = False

    async def complete(self) -> Response:
        """Return the response in one piece."""
        outputs = await self._generate(None)
        selected = [output.select(self.task.plan.n, self.by_likelihood) for output in outputs]
        pending = None if self.context.services.review is None else await self._review(selected)
        checked = None if self.context.structured_output is None else await self._check_output(selected)
        choices, stored = await self._store(selected, 200 if pending is None else 202)
        if pending is not None:
            return await respond_with_handle(self.context, pending, response_headers(self.task, stored))
        thermo = UNSET if self.body.thermo is None else response_thermo(outputs, stored)
        headers = response_headers(self.task, stored)
        if self.context.evidence is not None and thermo is not UNSET:
            thermo |= self.context.evidence.describe()
        if checked is not None:
            headers["x-heatbath-valid"] = checked.summary
            if thermo is not UNSET:
                thermo |= checked.thermo
        if self.context.prompt is not None:
            thermo = {**({} if thermo is UNSET else thermo), "prompt": self.context.prompt.describe()}
        return self.context.json_response(self.build_response(outputs, choices, thermo), headers)

    async def stream(self, outbox: Outbox) -> None:
        """Put the response into `outbox` as chunks, as they are generated where they need not be selected first."""
        buffered = is_buffered(self.body) or (self.task.gate is not None and bool(self.task.gate.form.echoes))
        writer = self.build_writer()
        writer.holds_ends = self.context.evidence is not None
        outputs = await self._generate(None if buffered else partial(writer.write_event, outbox))
        selected: list[list[ChoiceOutput]] = []
        for output in outputs:
            selected.append(output.select(self.task.plan.n, self.by_likelihood))
        if self.context.services.review is not None:
            await self._review(selected)
        for i, choices in enumerate(selected):
            writer.write_rest(outbox, i, choices, buffered=buffered)
        checked = None if self.context.structured_output is None else await self._check_output(selected)
        _, stored = await self._store(selected)
        thermo = None if self.body.thermo is None else response_thermo(outputs, stored)
        if self.context.evidence is not None and thermo is not None:
            thermo |= self.context.evidence.describe()
        if checked is not None:
            outbox.put(b": valid=%b\n\n" % checked.summary.encode())
            if thermo is not None:
                thermo |= checked.thermo
        if self.context.prompt is not None:
            thermo = {**(thermo or {}), "prompt": self.context.prompt.describe()}
        writer.write_end(outbox, thermo, stored)

    @abstractmethod
    def build_choice(self, prompt: int, index: int, output: ChoiceOutput, text: str) -> C:
        """Return the choice `index`, which belongs to prompt `prompt` and has the text `text`."""

    @abstractmethod
    def build_response(
        self, outputs: Sequence[PromptOutput], choices: list[C], thermo: dict[str, Any] | UnsetType
    ) -> msgspec.Struct:
        """Return the complete response."""

    @abstractmethod
    def build_writer(self) -> StreamWriter[B]:
        """Return a writer of the chunks of the response."""

    @abstractmethod
    def stored_content(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return what is stored of the request and its choices."""

    def extras(self, output: ChoiceOutput) -> dict[str, Any]:
        """Return the fields of a choice that are not OpenAI's, UNSET where they were not asked for."""
        body = self.body
        thermo: Any = UNSET
        if body.thermo is not None or self.task.meter is not None or self.task.gate is not None:
            thermo = self.describe_choice(output)
        return {
            "stop_reason": stop_reason(output, body),
            "token_ids": [token.id for token in output.tokens] if body.return_token_ids else UNSET,
            "thermo": thermo,
        }

    def describe_choice(self, output: ChoiceOutput) -> dict[str, Any]:
        """Return the `thermo` of a choice: what was asked for, its confidence, and what the policy said of it."""
        thermo = self.body.thermo
        own = {} if thermo is None else choice_thermo(output, thermo, self.texts, self.context.services.phase_map)
        if output.grounding is not None:
            own |= output.grounding.thermo
        return own | self.task.describe_choice(output)

    def prompt_logprobs(self, output: PromptOutput) -> PromptLogprobs | UnsetType:
        """Return the log-probabilities of the prompt, if they were asked for."""
        if self.body.prompt_logprobs is None or not output.shows_prompt:
            return UNSET
        return prompt_logprobs(
            output.began.scored_prompt if output.began else (), self.texts, self.body.prompt_logprobs
        )

    async def _generate(self, listener: Listener | None) -> list[PromptOutput]:
        """Run the engine, and withhold what falls short of a requirement; its refusal names the parameter of the API.

        Raises:
            ApiError, HeatbathError: what the engine raises.
        """
        if self.context.structured_output is not None:
            await self.context.structured_output.require_valid_schemas()
        try:
            outputs = await self.task.run(listener)
        except BadInput as error:
            param = request_param(error, self.body)
            message = f"{param}: {error.reason}" if param and error.reason else str(error)
            raise invalid_value(message, param) from None
        if self.context.evidence is not None:
            outputs = await self.context.evidence.complete(self.task, outputs)
        if self.task.meter is not None:
            self.task.meter.withhold(outputs, self.task.plan.n)
        return outputs

    async def _check_output(self, selected: Sequence[Sequence[ChoiceOutput]]) -> OutputCheck:
        """Check the choices against the schemas of the request."""
        structured = self.context.structured_output
        assert structured is not None
        return await structured.check([_json_parts(output, structured) for outputs in selected for output in outputs])

    async def _store(self, selected: Selection, status: int = 200) -> tuple[list[C], bool | None]:
        """Return the choices, of which those of prompt i begin at i * n, and whether they are stored."""
        choices: list[C] = []
        outputs: list[ChoiceOutput] = []
        for i, of_prompt in enumerate(selected):
            for k, output in enumerate(of_prompt):
                text = output.text + stop_token_text(output, self.body, self.texts)
                choices.append(self.build_choice(i, i * self.task.plan.n + k, output, text))
                outputs.append(output)
        plain: list[dict[str, Any]] = msgspec.to_builtins(choices)
        for choice in plain:
            choice.pop("thermo", None)
        content = self.stored_content(plain)
        if self.context.evidence is not None:
            of_choices = [{} if each.grounding is None else each.grounding.thermo for each in outputs]
            content |= {"evidence": {**self.context.evidence.describe(), "choices": of_choices}}
        return choices, await self.task.settle(outputs, content, status=status)

    async def _review(self, selected: Selection) -> str | None:
        """Let people decide on the choices that are held; return the id of an item that nobody has decided yet.

        A random share of what passes is shown to them too.
        """
        submission = ResponseReview(self.context, self.task, partial(self._build_payload, selected))
        pending = None
        if self.task.gate is not None and self.task.gate.escalations:
            pending = await submission.resolve(selected, read_wait(self.context, self.body))
        if pending is None:
            await submission.sample_passing(selected)
        return pending

    def _build_payload(self, selected: Selection) -> dict[str, Any]:
        """Return the response to these choices as JSON. It leaves no trace in this responder."""
        fresh, n = replace(self), self.task.plan.n
        thermo = UNSET if self.body.thermo is None else response_thermo(self.task.outputs, None)
        choices = [
            fresh.build_choice(i, i * n + k, output, output.text + stop_token_text(output, self.body, self.texts))
            for i, of_prompt in enumerate(selected)
            for k, output in enumerate(of_prompt)
        ]
        response = fresh.build_response(self.task.outputs, choices, thermo)
        payload: dict[str, Any] = msgspec.to_builtins(response)
        return payload


def _json_parts(output: ChoiceOutput, structured: StructuredOutput) -> list[tuple[str | None, str]] | None:
    """Return the JSON texts of a choice, each with the name of its tool; None where it was cut."""
    if output.finish != "stop":
        return None
    if not structured.tools:
        return [(None, output.text)]
    message, calls_are_complete = parse_calls(output.text, "")
    if not message.tool_calls:
        return [(None, output.text)]
    return (
        [(call.function.name, call.function.arguments) for call in message.tool_calls] if calls_are_complete else None
    )


def build_head(context: RequestContext, task: GenerationTask, id_prefix: str) -> ResponseHead:
    """Return the fields that all parts of a response share."""
    info = task.plan.info
    fingerprint = context.language.fingerprint.rpartition(":")[2][:16]
    return ResponseHead(id_prefix + info.id, int(info.created_at), info.model, f"fp_{fingerprint}")


def is_buffered(body: GenerationRequest) -> bool:
    """Return whether nothing can be shown before all is generated, since the choices are selected or withheld then."""
    if body.thermo is None:
        return False
    if body.thermo.retrieval is not None and body.thermo.retrieval.changes_answers:
        return True
    return body.thermo.require is not None or draws_sequences(body.thermo)


def build_answer_form(body: GenerationRequest, *, echoes: Sequence[str] = (), has_tools: bool = False) -> AnswerForm:
    """Return what the response to a request gives beside texts; `echoes` are the prompts that it is to repeat."""
    return AnswerForm(
        echoes=echoes,
        has_tools=has_tools,
        shows_prompt=body.prompt_logprobs is not None or bool(body.return_token_ids),
        shows_stop_token=body.skip_special_tokens is False,
        is_streamed=bool(body.stream) and not is_buffered(body),
    )


def draws_sequences(thermo: ThermoOptions) -> bool:
    """Return whether the sampler draws sequences, so that none is known before all are drawn."""
    if thermo.sampler is None:
        return False
    from heatbath.engine.registry import SAMPLERS

    return thermo.sampler not in SAMPLERS or not SAMPLERS[thermo.sampler].streams


def response_headers(task: GenerationTask, stored: bool | None) -> dict[str, str]:
    """Return the headers of a complete response."""
    headers = {"x-heatbath-overhead-ms": f"{task.overhead * 1000:.3f}"}
    if stored is not None:
        headers["x-heatbath-stored"] = "true" if stored else "false"
    return headers
