"""The chat request: messages and tools."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from heatbath.serve.openai.schema.sampling import Count, GenerationRequest, TopCount

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class TextPart(Struct, kw_only=True, tag_field="type", tag="text"):
    text: str


class RefusalPart(Struct, kw_only=True, tag_field="type", tag="refusal"):
    refusal: str


class FunctionCall(Struct, kw_only=True):
    name: Name
    arguments: str


class ToolCall(Struct, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Struct, kw_only=True):
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[TextPart | RefusalPart] | None = None
    name: Annotated[str, Meta(max_length=64)] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    audio: Any = None


FIELDS_OF_MESSAGES: dict[str, frozenset[str]] = {
    "": frozenset(Message.__struct_fields__),
    "content.": frozenset({"type", *TextPart.__struct_fields__, *RefusalPart.__struct_fields__}),
    "tool_calls.": frozenset(ToolCall.__struct_fields__),
    "tool_calls.function.": frozenset(FunctionCall.__struct_fields__),
    "function_call.": frozenset(FunctionCall.__struct_fields__),
}
"""The fields of a message and of the objects in it. Others are listed as ignored; in all other objects they are
refused (`forbid_unknown_fields`)."""


class FunctionDefinition(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str


class ToolName(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: FunctionName


class AllowedTools(Struct, kw_only=True, forbid_unknown_fields=True):
    mode: Literal["auto", "required"]
    tools: list[ToolName]


class ToolChoice(Struct, kw_only=True, forbid_unknown_fields=True):
    """One tool by name, or a choice among several."""

    type: Literal["function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None


class ChatRequest(GenerationRequest, kw_only=True):
    messages: list[Message]  # empty only after a prompt of the library
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: TopCount | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
