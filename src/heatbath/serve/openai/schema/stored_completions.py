"""Stored chat completions: pages, updates and deletions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from heatbath.serve.openai.schema.response_bodies import ChatCompletion
from heatbath.serve.openai.schema.sampling import Key, Note


class MetadataUpdate(Struct, kw_only=True):
    metadata: Annotated[dict[Key, Note], Meta(max_length=16)] | None


class CompletionList(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ChatCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MessageList(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedCompletion(Struct, kw_only=True):
    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: Literal[True] = True
