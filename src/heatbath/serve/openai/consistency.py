"""Fields of a request that contradict one another, or that have no effect without another one.

A field without effect is refused: whoever sends it expects something of it.
"""

from __future__ import annotations

from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.sampling import GenerationRequest


def check_chat_fields(body: ChatRequest) -> None:
    """Raise `ApiError`, 400 with the parameter, for fields that contradict one another or have no effect."""
    if not body.messages:
        raise invalid_value("messages is []: give a list with at least 1 item.", "messages")
    if body.top_logprobs and not body.logprobs:
        raise invalid_value("top_logprobs is set and logprobs is not: set logprobs to true.", "top_logprobs")
    if body.return_tokens_as_token_ids and not body.logprobs and body.prompt_logprobs is None:
        _refuse_alone("return_tokens_as_token_ids", "logprobs")
    longest = body.max_completion_tokens
    if longest is not None and body.max_tokens not in (None, longest):
        message = f"max_tokens is {body.max_tokens} and max_completion_tokens {longest}: give one of them."
        raise invalid_value(message, "max_tokens")
    check_shared_fields(body)


def check_completion_fields(body: CompletionRequest) -> None:
    """Raise `ApiError`, 400 with the parameter, for fields that contradict one another or have no effect."""
    n, best_of = body.n or 1, body.best_of
    if best_of and best_of < n:
        raise invalid_value(f"best_of is {best_of} and n is {n}: give at least as many.", "best_of")
    if best_of and best_of > n and body.stream:
        raise invalid_value("best_of cannot be streamed, the best is known at the end: leave out stream.", "best_of")
    if body.return_tokens_as_token_ids and body.logprobs is None and body.prompt_logprobs is None:
        _refuse_alone("return_tokens_as_token_ids", "logprobs")
    check_shared_fields(body)


def check_shared_fields(body: GenerationRequest) -> None:
    """Raise `ApiError`, 400 with the parameter, for what chat and completions have in common."""
    if body.stream_options is not None and not body.stream:
        _refuse_alone("stream_options", "stream")
    if body.prompt_logprobs is not None and body.stream:
        raise invalid_value("prompt_logprobs is not served in streams: leave out stream.", "prompt_logprobs")
    if body.xtc_threshold is not None and body.xtc_probability is None:
        _refuse_alone("xtc_threshold", "xtc_probability")
    if body.xtc_probability and body.xtc_threshold is None:
        _refuse_alone("xtc_probability", "xtc_threshold")
    if body.dry_multiplier is None:
        for name in ("dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"):
            if getattr(body, name) is not None:
                _refuse_alone(name, "dry_multiplier")


def _refuse_alone(name: str, other: str) -> None:
    raise invalid_value(f"{name} has no effect without {other}: set {other} or leave {name} out.", name)
