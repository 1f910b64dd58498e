"""The context of one HTTP request: body, tenant and model, admission, and the response as JSON or as a stream."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from heatbath.engine.base import ModelInfo, Request
from heatbath.serve.errors import ApiError, as_api_error
from heatbath.serve.http.asgi import encode_error_event, read_query
from heatbath.serve.interfaces import RequestInfo, Tenant
from heatbath.serve.openai.confidence import ConfidenceMeter
from heatbath.serve.openai.generation import GenerationPlan, GenerationTask
from heatbath.serve.openai.outputs import PromptOutput
from heatbath.serve.openai.policy_gate import PolicyGate
from heatbath.serve.openai.refusals import Refusal
from heatbath.serve.openai.schema.sampling import GenerationRequest
from heatbath.serve.openai.sse import EventStreamResponse, StreamWork, run_until_disconnect
from heatbath.serve.openai.structured_output import StructuredOutput
from heatbath.serve.openai.validation import decode_body, ignored_header
from heatbath.serve.services import Services

if TYPE_CHECKING:
    from heatbath.serve.stack.prompts import RenderedPrompt

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")
Handler = Callable[["RequestContext"], Awaitable[Any]]

encode_json = msgspec.json.Encoder().encode
_LONG = 65_536
"""Bytes from which a body is tokenized in a thread: shorter ones take less time than the change of thread."""
_NOT_A_SETTING = frozenset({"model", "messages", "prompt", "tools", "stream", "input", "instructions", "questions"})
"""Fields that are not settings, or that `RequestInfo` has elsewhere."""


class AnswerEvidence(Protocol):
    """Documents that a request searches for, and what they did to its answers."""

    def steer(self, request: Request) -> Request:
        """Return the request to the engine with what the documents add to it."""

    async def complete(self, task: GenerationTask, outputs: list[PromptOutput]) -> list[PromptOutput]:
        """Measure the evidence of generated answers; return those to give, which may be others."""

    def describe(self) -> dict[str, Any]:
        """Return what is said of the search in the `thermo` of a response."""


@dataclass
class RequestContext:
    """An HTTP request as handlers see it.

    Attributes:
        id: the x-request-id.
        endpoint: the path of the route.
        ignored: fields of the body that have no effect.
        admitted: whether the observers know that the request was accepted.
        encode_stream_error: writes the event that ends a stream with an error.
        structured_output: the schemas that the response is checked against.
        confidence: measures how likely each choice is right; None without a calibrator.
        prompt: the prompt of the library that the request names.
        evidence: the documents that the request searches for; None if it does not.
        gate: holds choices until the policy has judged them; None without a policy.
    """

    http: HttpRequest
    endpoint: str
    services: Services
    tenant: Tenant
    id: str
    ignored: list[str] = field(default_factory=list)
    admitted: bool = False
    encode_stream_error: Callable[[ApiError], bytes] = encode_error_event
    structured_output: StructuredOutput | None = None
    confidence: ConfidenceMeter | None = None
    prompt: RenderedPrompt | None = None
    evidence: AnswerEvidence | None = None
    gate: PolicyGate | None = None

    def steer(self, request: Request) -> Request:
        """Return the request to the engine with what its documents add to it, and then the policy."""
        if self.evidence is not None:
            request = self.evidence.steer(request)
        return request if self.gate is None else self.gate.steer(request)

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query. Raises `ApiError`, 400, for one that is given twice."""
        return read_query(self.http.query_params)

    @property
    def language(self) -> ModelInfo:
        """The model's names, tokens and limits. Raises `Unavailable` while the model is being loaded."""
        return self.services.engine.model_info

    async def read_body(self, type: type[T], refusals: Mapping[str, Refusal] | None = None) -> T:
        """Return the body; fields that `type` lacks are refused by `refusals` or noted as ignored."""
        content = await self.http.body()
        depth = self.services.settings.server.max_depth
        body, self.ignored = decode_body(content, type, refusals or {}, max_depth=depth)
        return body

    async def offload(self, function: Callable[[], R]) -> R:
        """Return what `function` returns; it runs in a thread where the body is long."""
        return function() if len(await self.http.body()) < _LONG else await asyncio.to_thread(function)

    def admit(self, plan: GenerationPlan, tokens: int) -> GenerationTask:
        """Admit the request, which will use up to `tokens` of prompt and completions.

        Raises:
            ApiError: 429, the tenant has none left.
        """
        lease = self.services.rate_limiter.acquire(self.tenant.name, tokens)
        if lease.account.windows:
            self.http.state.headers.update(lease.headers)
        self.admitted = True
        return GenerationTask(self.services, plan, lease, meter=self.confidence, gate=self.gate)

    def request_info(
        self, settings: Mapping[str, Any], *, model: str | None = None, stream: bool = False
    ) -> RequestInfo:
        """Describe the request, with an id of our own: an x-request-id may be the client's, and come twice."""
        return RequestInfo(
            uuid.uuid4().hex,
            self.tenant.name,
            self.endpoint,
            model or self.services.model_names.model,
            stream,
            self.http.state.started,
            time.time(),
            {"request_id": self.id, **settings},
        )

    def plan(
        self, requests: Sequence[Request], info: RequestInfo, *, n: int = 1, store: bool | None = None
    ) -> GenerationPlan:
        """Return the plan of `requests`; `store` is what the HTTP request says of storage."""
        storage = self.services.settings.storage
        keep_content, required = storage.content and store is not False, bool(store) or storage.required
        return GenerationPlan(info, requests, n=n, keep_content=keep_content, store_required=required)

    def json_response(self, body: Any, headers: Mapping[str, str] | None = None) -> Response:
        """Return a response in JSON."""
        return Response(encode_json(body), 200, {**ignored_header(self.ignored), **(headers or {})}, "application/json")

    async def respond(
        self,
        task: GenerationTask,
        complete: Callable[[], Coroutine[Any, Any, Response]],
        stream: StreamWork | None = None,
    ) -> Response | EventStreamResponse:
        """Return the response of `complete`, or the events of `stream` if there is one; it ends `task` as it ends.

        Raises:
            ClientDisconnect: the client has gone, and the work is cancelled.
        """
        if stream is None:
            work = asyncio.create_task(complete())
            work.add_done_callback(task.end_after)
            return await run_until_disconnect(self.http, work)
        seconds = self.services.settings.server.keep_alive_seconds
        events = EventStreamResponse(stream, seconds, self.encode_stream_error)
        events.task.add_done_callback(task.end_after)
        await events.open(self.http.receive, seconds)
        overhead = f"{task.overhead * 1000:.3f}"
        events.headers["x-heatbath-overhead-ms"] = overhead
        if self.ignored:
            events.headers |= ignored_header(self.ignored)
        return events


def request_settings(body: GenerationRequest) -> dict[str, Any]:
    """Return the options of a request, without its text, ready for JSON."""
    settings = {}
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is not None and name not in _NOT_A_SETTING:
            settings[name] = value
    builtins: dict[str, Any] = msgspec.to_builtins(settings)
    return builtins


def route(path: str, handler: Handler | None = None, method: str = "POST", **handlers: Handler) -> Route:
    """Return a route that reports rejected requests to the observers; `handlers` are by method, for more than one."""
    by_method = handlers if handler is None else {method: handler}

    async def endpoint(request: HttpRequest) -> Any:
        services: Services = request.app.state.services
        context = RequestContext(request, path, services, request.state.tenant, request.state.id)
        try:
            return await by_method["GET" if request.method == "HEAD" else request.method](context)
        except Exception as error:
            if not context.admitted:
                code = as_api_error(error).code or "error"
                for observer in services.observers:
                    observer.on_rejection(path, code)
            raise

    return Route(path, endpoint, methods=list(by_method), name=next(iter(by_method.values())).__name__)
