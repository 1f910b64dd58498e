"""The prompt library: what a request asks of it, and the descriptions of prompts."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from heatbath.serve.openai.schema.sampling import ShortText


class ResponsePrompt(Struct, kw_only=True, forbid_unknown_fields=True):
    """A prompt of the library, as the Responses API names it."""

    id: ShortText
    version: ShortText | None = None
    variables: dict[str, Any] | None = None


class PromptVariable(Struct, kw_only=True):
    type: Literal["string", "integer", "number", "boolean", "list"]
    description: str
    required: bool
    default: Any = UNSET


class PromptObject(Struct, kw_only=True):
    """A version of a prompt; `versions` are all that are known of its name, oldest first."""

    id: str
    object: Literal["prompt"] = "prompt"
    version: str
    digest: str
    description: str
    variables: dict[str, PromptVariable]
    roles: list[str]
    model: str | None
    profile: str | None
    retrieval: str | None
    policy: str | None
    versions: list[str]
    source: str | UnsetType = UNSET


class PromptList(Struct, kw_only=True):
    """The newest version of each prompt. `problems`: files whose last good content is served, and why."""

    object: Literal["list"] = "list"
    data: list[PromptObject]
    problems: list[str]


class RenderRequest(Struct, kw_only=True):
    version: ShortText | None = None
    variables: dict[str, Any] = {}


class PromptRendering(Struct, kw_only=True):
    """A rendered prompt: its messages, and the text and token ids that the model reads, up to where it answers."""

    object: Literal["prompt.rendering"] = "prompt.rendering"
    name: str
    version: str
    digest: str
    messages: list[dict[str, str]]
    text: str
    token_ids: list[int]
    count: int
