"""Responses of chat and completions. A field that is UNSET is not written, because it was not requested."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TopLogprob(Struct):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Struct):
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct, kw_only=True):
    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


class PromptLogprob(Struct):
    logprob: float
    rank: int | None
    decoded_token: str


class ResponseFunction(Struct):
    name: str
    arguments: str


class ResponseToolCall(Struct, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: ResponseFunction


class UrlCitation(Struct, kw_only=True):
    """A citation of code points `start_index` to `end_index` of the text."""

    start_index: int
    end_index: int
    title: str
    url: str


class Annotation(Struct, kw_only=True):
    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class ResponseMessage(Struct, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: list[ResponseToolCall] | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET


class ChatChoice(Struct, kw_only=True):
    index: int
    message: ResponseMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: int | str | UnsetType | None = UNSET
    token_ids: list[int] | UnsetType = UNSET
    thermo: dict[str, Any] | UnsetType = UNSET


class PromptTokensDetails(Struct):
    cached_tokens: int


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


PromptLogprobs = list[dict[str, PromptLogprob] | None]


class ChatCompletion(Struct, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str
    metadata: dict[str, str] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    thermo: dict[str, Any] | UnsetType = UNSET


class LogprobArrays(Struct):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Struct, kw_only=True):
    index: int
    text: str
    logprobs: LogprobArrays | None
    finish_reason: FinishReason
    stop_reason: int | str | UnsetType | None = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    thermo: dict[str, Any] | UnsetType = UNSET


class TextCompletion(Struct, kw_only=True):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
    thermo: dict[str, Any] | UnsetType = UNSET
