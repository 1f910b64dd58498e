"""The Responses API: requests and their items, and the response object."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from heatbath.serve.openai.schema.chat import Name
from heatbath.serve.openai.schema.decisions import InputTokensDetails, OutputTokensDetails
from heatbath.serve.openai.schema.prompt_templates import ResponsePrompt
from heatbath.serve.openai.schema.response_bodies import PromptLogprobs, TokenLogprob
from heatbath.serve.openai.schema.sampling import Count, GenerationRequest, Note, ShortText, TopCount

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Parts = list[dict[str, Any]]
Includable = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
]
"""What a response may include beside its text. All but the log-probabilities belong to items that never occur here."""


class InputMessage(Struct, kw_only=True, tag_field="type", tag="message"):
    role: Literal["developer", "system", "user", "assistant"]
    content: str | Parts
    id: ShortText | None = None
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class InputCall(Struct, kw_only=True, tag_field="type", tag="function_call"):
    name: Name
    arguments: str
    call_id: ShortText
    id: ShortText | None = None
    status: ItemStatus | None = None


class CallOutput(Struct, kw_only=True, tag_field="type", tag="function_call_output"):
    call_id: ShortText
    output: str | Parts
    id: ShortText | None = None
    status: ItemStatus | None = None


class ReasoningItem(Struct, kw_only=True, tag_field="type", tag="reasoning"):
    """Thoughts of another model, which are accepted and not shown to this one."""

    id: ShortText | None = None
    summary: Parts | None = None
    content: Parts | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class ItemReference(Struct, kw_only=True, tag_field="type", tag="item_reference"):
    id: ShortText


class CompactionItem(Struct, kw_only=True, tag_field="type", tag="compaction"):
    """The summary of a conversation, in its place; the content is only for the server that wrote it."""

    encrypted_content: str
    id: ShortText | None = None


InputItem = InputMessage | InputCall | CallOutput | ReasoningItem | CompactionItem | ItemReference


class ResponseTool(Struct, kw_only=True):
    type: str
    name: Name | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolReference(Struct, kw_only=True):
    type: Literal["function"]
    name: str


class ResponseToolChoice(Struct, kw_only=True):
    """One tool by name, or a choice among several."""

    type: Literal["function", "allowed_tools"]
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[ToolReference] | None = None


class TextFormat(Struct, kw_only=True):
    type: Literal["text", "json_object", "json_schema"]
    name: ShortText | None = None
    schema: dict[str, Any] | bool | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(Struct, kw_only=True):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseRequest(GenerationRequest, kw_only=True):
    input: str | Parts | None = None
    instructions: str | None = None
    prompt: ResponsePrompt | None = None
    previous_response_id: ShortText | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    max_tool_calls: Count | None = None
    tools: Annotated[list[ResponseTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    include: list[Includable] | None = None
    top_logprobs: TopCount | None = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: Note | None = None
    prompt_cache_key: Note | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class OutputText(Struct, kw_only=True, tag_field="type", tag="output_text"):
    text: str
    annotations: list[dict[str, Any]] = []
    logprobs: list[TokenLogprob] = []


class OutputMessage(Struct, kw_only=True, tag_field="type", tag="message"):
    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class OutputCall(Struct, kw_only=True, tag_field="type", tag="function_call"):
    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


OutputItem = OutputMessage | OutputCall


class ResponseUsage(Struct, kw_only=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(Struct):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseFailure(Struct):
    code: str
    message: str


class ReasoningSettings(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class ResponseObject(Struct, kw_only=True):
    """A response. What a request leaves open has the value that was used."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    incomplete_details: IncompleteDetails | None = None
    error: ResponseFailure | None = None
    model: str
    previous_response_id: str | None = None
    instructions: str | None = None
    output: list[OutputItem] = []
    tools: list[ResponseTool] = []
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice = "auto"
    parallel_tool_calls: bool = True
    text: dict[str, Any]
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_logprobs: int = 0
    truncation: Literal["auto", "disabled"] = "disabled"
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    reasoning: ReasoningSettings = ReasoningSettings()
    usage: ResponseUsage | None = None
    store: bool = True
    background: Literal[False] = False
    service_tier: str = "default"
    metadata: dict[str, str] = {}
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt: ResponsePrompt | UnsetType = UNSET
    stop_reason: int | str | UnsetType | None = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    thermo: dict[str, Any] | UnsetType = UNSET


class CompactRequest(Struct, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | Parts | None = None
    instructions: str | None = None
    previous_response_id: ShortText | None = None
    prompt_cache_key: Note | None = None


class CompactedResponse(Struct, kw_only=True):
    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[CompactionItem]
    usage: ResponseUsage


class ItemList(Struct, kw_only=True):
    """The items that a response was generated from."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(Struct, kw_only=True):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
