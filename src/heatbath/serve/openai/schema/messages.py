"""Messages in the form of Anthropic's API: requests and responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from heatbath.serve.openai.schema.sampling import (
    MAX_STOPS,
    Count,
    Fraction,
    Note,
    NotNegative,
    Seed,
    ShortText,
    ThermoOptions,
)

ToolIdentifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class TextBlock(Struct, kw_only=True, tag_field="type", tag="text"):
    text: str


class ToolUseBlock(Struct, kw_only=True, tag_field="type", tag="tool_use"):
    id: str
    name: ToolIdentifier
    input: dict[str, Any]


class PlainTextSource(Struct, kw_only=True, tag_field="type", tag="text"):
    data: str


class ContentSource(Struct, kw_only=True, tag_field="type", tag="content"):
    content: str | list[TextBlock]


class DocumentBlock(Struct, kw_only=True, tag_field="type", tag="document"):
    source: PlainTextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Struct, kw_only=True, tag_field="type", tag="search_result"):
    source: str
    title: str
    content: list[TextBlock]


TextualBlock = TextBlock | DocumentBlock | SearchResultBlock


class ToolResultBlock(Struct, kw_only=True, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: str | list[TextualBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(Struct, kw_only=True, tag_field="type", tag="thinking"):
    thinking: str


class RedactedThinkingBlock(Struct, kw_only=True, tag_field="type", tag="redacted_thinking"):
    data: str


Block = (
    TextBlock
    | ToolUseBlock
    | ToolResultBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
)


class ConversationMessage(Struct, kw_only=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolDefinition(Struct, kw_only=True):
    name: ToolIdentifier
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None


class MessageToolChoice(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    format: OutputFormat | None = None
    effort: Any = None


class MessageMetadata(Struct, kw_only=True):
    user_id: Note | None = None


class CountTokensRequest(Struct, kw_only=True):
    """A conversation whose tokens are counted."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    messages: Annotated[list[ConversationMessage], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[ToolDefinition], Meta(max_length=128)] | None = None
    tool_choice: MessageToolChoice | None = None
    output_config: OutputConfig | None = None


class MessageRequest(CountTokensRequest, kw_only=True):
    """A conversation to respond to. `seed` and `thermo` are beyond Anthropic's API."""

    max_tokens: Count
    temperature: NotNegative | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p: Fraction | None = None
    stop_sequences: Annotated[list[ShortText], Meta(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    metadata: MessageMetadata | None = None
    seed: Seed | None = None
    thermo: ThermoOptions | None = None


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"]


class MessageUsage(Struct, kw_only=True):
    """Tokens read, from the prefix cache, and generated. The prompt has `input_tokens` and those from the cache."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class MessageResponse(Struct, kw_only=True):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[TextBlock | ToolUseBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage
    thermo: dict[str, Any] | UnsetType = UNSET


class TokenCount(Struct):
    input_tokens: int
