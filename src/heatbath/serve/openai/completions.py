"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

from heatbath.serve.errors import invalid_value
from heatbath.serve.openai import sampling_params
from heatbath.serve.openai.consistency import check_completion_fields
from heatbath.serve.openai.logprobs import CompletionLogprobs, scored_tokens
from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput, TokenTexts, finish_reason, usage
from heatbath.serve.openai.policy_input import screen_prompts
from heatbath.serve.openai.prompts import completion_prompts
from heatbath.serve.openai.refusals import COMPLETION_REFUSALS
from heatbath.serve.openai.request_context import RequestContext, request_settings
from heatbath.serve.openai.responder import Responder, build_answer_form, build_head, draws_sequences
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.response_bodies import CompletionChoice, TextCompletion
from heatbath.serve.openai.streaming import CompletionStreamWriter

DEFAULT_MAX_TOKENS = 16
"""Tokens of a completion where the request does not say, as OpenAI has it."""


async def completions(context: RequestContext) -> Any:
    """Continue prompts."""
    body = await context.read_body(CompletionRequest, COMPLETION_REFUSALS)
    context.services.model_names.resolve(body.model)
    _check(body)
    if context.services.policy is not None:
        body = await screen_prompts(context, body)
    prompts = await context.offload(partial(completion_prompts, context.language, body.prompt))
    if body.thermo is not None and body.thermo.retrieval is not None:
        from heatbath.serve.openai.evidence import search_for_completion

        reserve = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
        prompts = await search_for_completion(context, body, prompts, reserve)
    extent = _extent(context, body, prompts)
    requests = sampling_params.build(context, body, prompts=prompts, extent=extent)
    info = context.request_info(request_settings(body), stream=bool(body.stream))
    texts = _texts(context, body, prompts)
    if context.gate is not None:
        context.gate.form = build_answer_form(body, echoes=texts if body.echo else ())
    plan = context.plan(requests, info, n=body.n or 1, store=body.store)
    task = context.admit(plan, sum(len(prompt) + extent.n * extent.max_tokens for prompt in prompts))
    responder = CompletionResponder(
        context,
        body,
        task,
        TokenTexts(context.language, bool(body.return_tokens_as_token_ids)),
        build_head(context, task, "cmpl-"),
        by_likelihood=(body.best_of or 0) > (body.n or 1),
        prompt_texts=texts,
    )
    return await context.respond(task, responder.complete, responder.stream if body.stream else None)


def _texts(context: RequestContext, body: CompletionRequest, prompts: Sequence[sampling_params.Tokens]) -> list[str]:
    """Return the texts of prompts: as they were given, or decoded from the tokens that were."""
    if isinstance(body.prompt, str):
        return [body.prompt]
    if body.prompt and isinstance(body.prompt[0], str):
        return [str(text) for text in body.prompt]
    return [context.language.decode(prompt) for prompt in prompts]


def _check(body: CompletionRequest) -> None:
    check_completion_fields(body)
    if body.best_of and body.best_of > (body.n or 1) and body.thermo is not None and draws_sequences(body.thermo):
        raise invalid_value("best_of chooses among plain draws: leave it or thermo.sampler out.", "best_of")


def _extent(
    context: RequestContext, body: CompletionRequest, prompts: Sequence[sampling_params.Tokens]
) -> sampling_params.Extent:
    limit = context.services.settings.limits.max_tokens
    # A prompt of no tokens stands for the document start, which takes room too.
    started = [prompt or context.language.vocabulary.start_token_ids for prompt in prompts]
    available = sampling_params.available_tokens(context.language, started, limit, "prompt")
    return sampling_params.Extent(
        max_tokens=sampling_params.resolve_max_tokens(
            body.max_tokens,
            available,
            limit,
            "max_tokens",
            default=DEFAULT_MAX_TOKENS,
            context=context.language.context_length,
        ),
        n=max(body.n or 1, body.best_of or 0),
        top=max(body.logprobs or 0, body.prompt_logprobs or 0),
        prompt_scores=body.prompt_logprobs is not None or bool(body.echo and body.logprobs is not None),
    )


@dataclass(frozen=True)
class CompletionResponder(Responder[CompletionRequest, CompletionChoice]):
    """Responds to one completions request; `prompt_texts` are repeated where the request asks for it."""

    prompt_texts: Sequence[str] = ()

    def build_choice(self, prompt: int, index: int, output: ChoiceOutput, text: str) -> CompletionChoice:
        body, of_prompt = self.body, self.task.outputs[prompt]
        scores = of_prompt.began.scored_prompt if body.echo and of_prompt.began else ()
        logprobs, ruling = None, output.ruling
        if body.logprobs is not None and (ruling is None or ruling.shows_tokens):
            tokens = [*scores, *scored_tokens(output, body, self.texts)]
            logprobs = CompletionLogprobs(self.texts, body.logprobs).append(tokens, prompt=len(scores))
        return CompletionChoice(
            index=index,
            text=(self.prompt_texts[prompt] if body.echo and (ruling is None or ruling.shows_prompt) else "") + text,
            logprobs=logprobs,
            finish_reason=finish_reason(output),
            prompt_token_ids=list(of_prompt.prompt) if body.return_token_ids and of_prompt.shows_prompt else UNSET,
            prompt_logprobs=self.prompt_logprobs(of_prompt),
            **self.extras(output),
        )

    def build_response(
        self, outputs: Sequence[PromptOutput], choices: list[CompletionChoice], thermo: dict[str, Any] | UnsetType
    ) -> TextCompletion:
        return TextCompletion(
            id=self.head.id,
            created=self.head.created,
            model=self.head.model,
            system_fingerprint=self.head.fingerprint,
            choices=choices,
            usage=usage(outputs),
            thermo=thermo,
        )

    def build_writer(self) -> CompletionStreamWriter:
        return CompletionStreamWriter(self.body, self.task, self.head, self.texts, prompt_texts=self.prompt_texts)

    def stored_content(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        texts = [choice["text"] for choice in choices]
        return {"prompt": self._stored_prompts(), "answers": texts, "choices": choices}

    def _stored_prompts(self) -> list[str]:
        """Return the prompts, without the text of those that were to be repeated and could not."""
        prompts = list(self.prompt_texts)
        if self.body.echo and self.task.gate is not None:
            for i, output in enumerate(self.task.outputs):
                rulings = [choice.ruling for choice in output.choices.values()]
                if any(ruling is not None and not ruling.shows_prompt for ruling in rulings):
                    prompts[i] = ""
        return prompts
