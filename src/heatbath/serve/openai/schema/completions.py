"""The completions request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from heatbath.serve.openai.schema.sampling import GenerationRequest, TokenId

Prompt = str | list[str | TokenId | list[TokenId]]


class CompletionRequest(GenerationRequest, kw_only=True):
    prompt: Prompt
    best_of: Annotated[int, Meta(ge=0, le=128)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
