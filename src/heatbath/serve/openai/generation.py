"""The generation of one HTTP request: reported to observers, run on the engine, stored, and ended exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from heatbath.engine.base import Event, Request, TokensGenerated
from heatbath.serve.errors import CLIENT_CLOSED_REQUEST, as_api_error
from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.openai.confidence import ConfidenceMeter
from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput, TokenTexts, record_columns, summarize_records
from heatbath.serve.openai.policy_gate import PolicyGate
from heatbath.serve.rate_limits import Lease
from heatbath.serve.services import Services

Listener = Callable[[int, Event], None]
"""Called with the number of a prompt and each event of its request."""


@dataclass(frozen=True)
class GenerationPlan:
    """Requests to the engine for one HTTP request, and the storage of its outcome.

    Attributes:
        requests: one for each prompt.
        n: choices to return for each prompt.
        keep_content: whether messages and completions may be stored.
        store_required: whether a response that cannot be stored is withheld.
        store: whether anything is stored.
    """

    info: RequestInfo
    requests: Sequence[Request]
    n: int = 1
    keep_content: bool = True
    store_required: bool = False
    store: bool = True


@dataclass
class Timestamps:
    """Times of `time.monotonic`: submission, the first token, the end of the engine's work."""

    submitted: float = 0.0
    first_token: float | None = None
    generated: float = 0.0


@dataclass
class GenerationTask:
    """Runs a plan. It ends once: with `settle` or `end_with`, or with the task that has `end_after` as its callback.

    `stored` says whether the outcome is stored, None where it has not ended or was not to be.
    `meter` measures the confidence of choices, None without a calibrator. `gate` holds them, None without a policy.
    """

    services: Services
    plan: GenerationPlan
    lease: Lease
    outputs: list[PromptOutput] = field(default_factory=list)
    times: Timestamps = field(default_factory=Timestamps)
    is_over: bool = False
    stored: bool | None = None
    meter: ConfidenceMeter | None = None
    gate: PolicyGate | None = None

    def __post_init__(self) -> None:
        for observer in self.services.observers:
            observer.on_start(self.plan.info)

    def end_after(self, task: asyncio.Future[Any]) -> None:
        """End as `task` has ended, unless this ended before; the callback of a task."""
        if not self.is_over:
            self._fail(None if task.cancelled() else task.exception())

    def end_with(self, error: Exception) -> None:
        """End with an error that a stream has reported, unless this ended before."""
        if not self.is_over:
            self._fail(error)

    async def run(self, listener: Listener | None = None) -> list[PromptOutput]:
        """Submit the requests to the engine and return their outputs.

        Raises:
            ApiError, HeatbathError: what the engine raises.
        """
        requests = self.plan.requests
        for request in requests:
            self.outputs.append(PromptOutput(request.prompt))
        self.times.submitted = time.monotonic()
        try:
            if len(requests) == 1:
                await self._run_request(0, listener)
            else:
                await self._run_requests(listener)
        finally:
            self.times.generated = time.monotonic()
        return self.outputs

    async def run_again(self, request: Request) -> list[PromptOutput]:
        """Run a request in place of the only one; what was generated before counts as tokens of the completion."""
        (before,) = self.outputs
        self.plan, self.outputs = replace(self.plan, requests=[request]), []
        if self.gate is not None:
            self.gate.escalations.clear()
        submitted = self.times.submitted
        outputs = await self.run()
        self.times.submitted = submitted
        outputs[0].completion_tokens += before.completion_tokens
        return outputs

    async def _run_requests(self, listener: Listener | None) -> None:
        """Run as many at once as the engine has rows for, so that one HTTP request does not fill its queue."""
        rows = max(request.n for request in self.plan.requests)
        slots = asyncio.Semaphore(max(1, self.services.settings.engine.max_rows // rows))

        async def run_in_slot(i: int) -> None:
            async with slots:
                await self._run_request(i, listener)

        try:
            async with asyncio.TaskGroup() as tasks:
                for i in range(len(self.plan.requests)):
                    tasks.create_task(run_in_slot(i))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _run_request(self, i: int, listener: Listener | None) -> None:
        output, request = self.outputs[i], self.plan.requests[i]
        steps = cast("AsyncGenerator[Event, None]", self.services.engine.submit(request))
        if self.gate is not None:
            steps = self.gate.hold(steps, (i, request, output), partial(self._report_tokens, i))
        async with aclosing(steps):
            async for step in steps:
                if self.meter is not None:
                    step = self.meter.hide_columns(step)
                output.add(step)
                if isinstance(step, TokensGenerated):
                    if self.times.first_token is None and (step.tokens or step.text):
                        self.times.first_token = time.monotonic()
                    if self.gate is None:
                        self._report_tokens(i, step)
                if listener is not None:
                    listener(i, step)

    def _report_tokens(self, i: int, step: TokensGenerated) -> None:
        if i:
            step = replace(step, choice=i * self.plan.requests[i].n + step.choice)
        for observer in self.services.observers:
            observer.on_tokens(self.plan.info, step)

    async def settle(
        self,
        choices: Sequence[ChoiceOutput],
        content: Mapping[str, Any],
        *,
        prompt_tokens: int | None = None,
        status: int = 200,
    ) -> bool | None:
        """Store the choices that are returned, and end. Return whether they are stored, None if they were not to be.

        `prompt_tokens` counts those of a model that is not the engine's; `status` is that of the response.

        Raises:
            StoreUnavailable: they are not stored and had to be.
        """
        outcome = self._result(choices, content)
        if status != 200:
            outcome = replace(outcome, status=status)
        if prompt_tokens is not None:
            outcome = replace(outcome, prompt_tokens=prompt_tokens)
        if self.plan.store:
            try:
                await self.services.store.save(outcome)
                self.stored = True
            except StoreUnavailable:
                if self.plan.store_required:
                    raise
                self.stored = False
        self._end(outcome)
        return self.stored

    @property
    def overhead(self) -> float:
        """Seconds so far that were not spent in the engine."""
        now = time.monotonic()
        before = (self.times.submitted or now) - self.plan.info.started_at
        return before + (now - self.times.generated if self.times.generated else 0.0)

    def describe_choice(self, choice: ChoiceOutput) -> dict[str, Any]:
        """Return the confidence of a choice and what the policy said of it, as far as the server has these."""
        described: dict[str, Any] = {} if self.meter is None else self.meter.measure(choice).describe()
        return described if self.gate is None else described | self.gate.describe(choice)

    def _fail(self, error: BaseException | None) -> None:
        """End without a response; no error means that the client or the server went away."""
        known = None if error is None else as_api_error(error)
        if known is not None:
            status, code = known.status, known.code
        elif self.services.lifecycle.is_draining:
            status, code = 503, "unavailable"
        else:
            status, code = CLIENT_CLOSED_REQUEST, "client_gone"
        self._end(replace(self._result([], {}), status=status, error=code, content=None, records=None))

    def _end(self, outcome: RequestOutcome) -> None:
        self.is_over = True
        self.lease.release(outcome.prompt_tokens + outcome.completion_tokens)
        for observer in self.services.observers:
            observer.on_finish(outcome)

    def _result(self, choices: Sequence[ChoiceOutput], content: Mapping[str, Any]) -> RequestOutcome:
        began = None
        prompt_tokens = cached_tokens = completion_tokens = 0
        for output in self.outputs:
            began = began or output.began
            prompt_tokens += len(output.prompt)
            cached_tokens += output.cached_tokens
            completion_tokens += output.completion_tokens
        finish, summaries, records = [], [], []
        texts = TokenTexts(self.services.engine.model_info) if self.plan.keep_content else None
        for choice in choices:
            finish.append(choice.finish or "")
            ruling = choice.ruling
            summaries.append(summarize_records(choice.tokens) if ruling is None else ruling.summarize())
            if texts is not None:
                records.append(record_columns(choice.tokens, texts))
        started, first_token = self.plan.info.started_at, self.times.first_token
        return RequestOutcome(
            request=self.plan.info,
            status=200,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            completion_tokens=completion_tokens,
            finish_reasons=finish,
            queue_seconds=None if began is None else began.queue_seconds,
            first_token_seconds=None if first_token is None else first_token - started,
            duration=time.monotonic() - started,
            seed=None if began is None else began.seed,
            summary=summaries,
            content=content if self.plan.keep_content else None,
            records=None if texts is None else records,
            confidences=() if self.meter is None else self.meter.report(choices),
        )
