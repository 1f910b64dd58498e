"""Prompts of the library in requests, GET /v1/prompts, and POST /v1/prompts/{name}/render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.responses import Response

from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.prompts import chat_prompt
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.chat import ChatRequest, Message
from heatbath.serve.openai.schema.prompt_templates import (
    PromptList,
    PromptObject,
    PromptRendering,
    PromptVariable,
    RenderRequest,
    ResponsePrompt,
)
from heatbath.serve.openai.schema.response_objects import ResponseRequest
from heatbath.serve.openai.schema.retrieval import RetrievalOptions
from heatbath.serve.openai.schema.sampling import GenerationRequest, PromptReference, ThermoOptions

if TYPE_CHECKING:
    from heatbath.serve.stack.prompts import PromptLibrary, PromptTemplate, RenderedPrompt

B = TypeVar("B", bound=GenerationRequest)

_SYSTEM_ROLES = ("system", "developer")


def render_prompt(context: RequestContext, reference: PromptReference, place: str) -> RenderedPrompt:
    """Return the prompt that a request names, with its variables filled in.

    Raises:
        ApiError: 400, an unknown prompt or version, variables that do not fit, a template that fails, or a prompt for
            another model or policy.
    """
    library = context.services.prompts
    if library is None:
        message = f"{place} names a prompt and this server has none: leave it out, or set prompts.folder."
        raise invalid_value(message, place)
    from heatbath.serve.stack.prompts.front_matter import PromptMistake

    try:
        template = library.find(reference.name, reference.version)
        _check_model(context, template)
        _check_policy(context, template)
        return template.render(reference.variables)
    except PromptMistake as error:  # without the folder, which is nobody's business
        raise invalid_value(f"{error.path.name}:{error.line}: {error.sentence}", place) from None
    except BadInput as error:
        raise invalid_value(str(error), f"{place}.{error.param}" if error.param else place) from None


def _check_model(context: RequestContext, template: PromptTemplate) -> None:
    names = context.services.model_names.all_names
    if template.parts.model not in (None, context.services.settings.model.name, *names):
        message = f"prompt {template.reference} is for the model {template.parts.model} and this server has {names[0]}."
        raise BadInput(message, param="name")


def _check_policy(context: RequestContext, template: PromptTemplate) -> None:
    file = context.services.settings.policy.file
    if template.parts.policy is not None and (file is None or file.stem != template.parts.policy):
        own = "none" if file is None else file.stem
        message = f"prompt {template.reference} is for the policy {template.parts.policy} and this server has {own}."
        raise BadInput(message, param="name")


def _add_search(body: B, rendered: RenderedPrompt) -> B:
    """Return a request that searches the index of its prompt, unless it says itself what to search."""
    index, thermo = rendered.template.parts.retrieval, body.thermo or ThermoOptions()
    if index is None or thermo.retrieval is not None:
        return body
    return msgspec.structs.replace(
        body, thermo=msgspec.structs.replace(thermo, retrieval=RetrievalOptions(index=index))
    )


def add_prompt(context: RequestContext, body: ChatRequest) -> ChatRequest:
    """Return a chat that begins with the prompt that its `thermo` names, and note the prompt in the context.

    Raises:
        ApiError: 400 as for `render_prompt`.
    """
    if body.thermo is None or body.thermo.prompt is None:
        return body
    context.prompt = render_prompt(context, body.thermo.prompt, "thermo.prompt")
    body = _add_search(body, context.prompt)
    return msgspec.structs.replace(body, messages=prepend_messages(context.prompt, body.messages, "messages"))


def find_response_prompt(context: RequestContext, body: ResponseRequest) -> ResponseRequest:
    """Return a request whose `prompt` names the version that was found, and note the prompt in the context.

    Raises:
        ApiError: 400 as for `render_prompt`, and for two prompts.
    """
    named = None if body.thermo is None else body.thermo.prompt
    if body.prompt is None:
        if named is None:
            return body
        context.prompt = render_prompt(context, named, "thermo.prompt")
        return _add_search(body, context.prompt)
    if named is not None:
        raise invalid_value("prompt and thermo.prompt name a prompt each: give one of them.", "prompt")
    variables = {name: _plain_value(value) for name, value in (body.prompt.variables or {}).items()}
    reference = PromptReference(name=body.prompt.id, version=body.prompt.version, variables=variables)
    try:
        context.prompt = render_prompt(context, reference, "prompt")
    except ApiError as error:
        if error.param == "prompt.name":
            error.param = "prompt.id"
        raise
    template = context.prompt.template
    echo = ResponsePrompt(id=template.name, version=template.version, variables=body.prompt.variables)
    return msgspec.structs.replace(_add_search(body, context.prompt), prompt=echo)


def _plain_value(value: Any) -> Any:
    """Return the text of a part of the input, as clients of the Responses API may give it; others as they are."""
    is_text = isinstance(value, dict) and value.get("type") == "input_text" and isinstance(value.get("text"), str)
    return value["text"] if is_text else value


def prepend_messages(rendered: RenderedPrompt, messages: Sequence[Message], place: str) -> list[Message]:
    """Return the messages of a prompt, and `messages` after them.

    Raises:
        ApiError: 400, both begin with a system message.
    """
    own = [Message(role=message["role"], content=message["content"]) for message in rendered.messages]  # type: ignore[arg-type]
    if own[0].role == "system" and messages and messages[0].role in _SYSTEM_ROLES:
        reference = rendered.template.reference
        message = f"{place} begins with a system message and prompt {reference} has one: leave one of them out."
        raise invalid_value(message, place)
    return [*own, *messages]


def report_prompt(settings: Mapping[str, Any], rendered: RenderedPrompt) -> dict[str, Any]:
    """Return the settings of a request with name, version and digest of its prompt, without the variables' texts."""
    reported = {**settings, "prompt": rendered.describe()}
    if "thermo" in reported:
        reported["thermo"] = {name: value for name, value in reported["thermo"].items() if name != "prompt"}
    return reported


async def list_prompts(context: RequestContext) -> Response:
    """Return the newest version of each prompt, and the files whose last good content is served."""
    library = context.services.prompts
    if library is None:
        return context.json_response(PromptList(data=[], problems=[]))
    found = [_describe(library, template) for template in library.list_current()]
    folder = f"{library.folder}/"
    problems = [problem.replace(folder, "") for problem in library.problems]
    return context.json_response(PromptList(data=found, problems=problems))


async def read_prompt(context: RequestContext) -> Response:
    """Return a prompt and its source; the name may have a version."""
    library = context.services.prompts
    try:
        if library is None:
            raise BadInput("this server has no prompts: set prompts.folder.")
        template = library.find(context.http.path_params["name"])
    except BadInput as error:
        raise ApiError(404, str(error), code="not_found", param="name") from None
    described = _describe(library, template)
    described.source = template.source
    return context.json_response(described)


async def render(context: RequestContext) -> Response:
    """Return a rendered prompt: messages, and what the model reads."""
    body = await context.read_body(RenderRequest)
    reference = PromptReference(name=context.http.path_params["name"], version=body.version, variables=body.variables)
    return context.json_response(await context.offload(partial(_render, context, reference)))


def _render(context: RequestContext, reference: PromptReference) -> PromptRendering:
    rendered = render_prompt(context, reference, "prompt")
    conversation = ChatRequest(model="", messages=prepend_messages(rendered, (), "messages"))
    tokens = list(chat_prompt(context.language, conversation, ()))
    template = rendered.template
    return PromptRendering(
        name=template.name,
        version=template.version,
        digest=template.digest,
        messages=[dict(message) for message in rendered.messages],
        text=context.language.decode(tokens),
        token_ids=tokens,
        count=len(tokens),
    )


def _describe(library: PromptLibrary, template: PromptTemplate) -> PromptObject:
    described = template.describe()
    described["id"] = described.pop("name")
    described["variables"] = {name: PromptVariable(**each) for name, each in described["variables"].items()}
    versions = dict.fromkeys(each.version for each in library.list_versions(template.name))
    return PromptObject(**described, versions=list(versions))
