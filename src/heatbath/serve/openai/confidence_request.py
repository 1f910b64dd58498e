"""The settings of a request beside those of the calibration, and the records that its confidence needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from heatbath.engine.base import Request
from heatbath.serve.confidence import ServedCalibrator
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.confidence import ConfidenceMeter
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.chat import ChatRequest, RefusalPart, TextPart
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.sampling import GenerationRequest

_PARAM = "thermo.require"
_ENDPOINTS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})
_SYSTEM_ROLES = ("system", "developer")


def prepare_confidence(context: RequestContext, body: GenerationRequest, request: Request) -> Request:
    """Have the confidence of each choice measured; return the request with the records that this needs.

    Raises:
        ApiError: 400, a confidence is required that cannot be measured: without a calibrator, or under other settings.
    """
    served = context.services.calibrator
    require = None if body.thermo is None else body.thermo.require
    if served is None:
        raise invalid_value(
            f"{_PARAM} asks for a confidence and this server has no calibrator: leave it out, or set trust.calibrator.",
            _PARAM,
        )
    if context.endpoint not in _ENDPOINTS:
        return request
    mismatch = _find_mismatch(served, body, request)
    if require is not None and mismatch:
        raise invalid_value(
            f"{_PARAM} asks for a confidence and {mismatch}: use those settings, or leave it out.", _PARAM
        )
    needs_more = served.record_mode == "full" or request.record == "nodes"
    is_raised = needs_more and not mismatch and request.record != "full"
    context.confidence = ConfidenceMeter(
        served,
        context.language,
        mismatch,
        None if require is None else require.confidence,
        request.record if is_raised else None,
    )
    return replace(request, record="full") if is_raised else request


def _find_mismatch(served: ServedCalibrator, body: GenerationRequest, request: Request) -> str:
    """Return a sentence on what makes other answers than the settings of the calibration do; empty if nothing does."""
    settings: dict[str, Any] = {"temperature": request.temperature, "chat": isinstance(body, ChatRequest)}
    if isinstance(body, ChatRequest):
        settings["system"] = _read_system_message(body)
    expected = served.settings.get("stop") or []
    settings["stop"] = expected if set(expected) == set(request.stop) else list(request.stop)
    mismatch = served.find_mismatch(settings)
    if mismatch:
        return mismatch
    names = [name for name, is_given in _list_changes(body, request).items() if is_given]
    return f"the calibrator is for answers without {names[0]}" if names else ""


def _list_changes(body: GenerationRequest, request: Request) -> dict[str, bool]:
    """Return whatever changes the distribution of answers, and whether the request has it."""
    best_of = body.best_of if isinstance(body, CompletionRequest) else None
    return {
        "a changed chat template": isinstance(body, ChatRequest) and _changes_template(body),
        "documents that were searched for": body.thermo is not None and body.thermo.retrieval is not None,
        "tools": isinstance(body, ChatRequest) and bool(body.tools),
        "windows such as top_p": bool(request.windows),
        "fields such as penalties, biases and forms": bool(request.fields),
        "potentials": bool(request.potentials),
        "a schedule": request.schedule is not None,
        f"the sampler {request.sampler}": request.sampler != "ancestral",
        "best_of": (best_of or 1) > (body.n or 1),
        "stop_token_ids": bool(request.stop_token_ids),
        "ignore_eos": request.ignore_eos,
        "min_tokens": bool(request.min_tokens),
    }


def _changes_template(body: ChatRequest) -> bool:
    return bool(body.continue_final_message or body.chat_template_kwargs or body.add_generation_prompt is False)


def _read_system_message(body: ChatRequest) -> str | None:
    """Return the text of the system messages; None without any."""
    texts = []
    for message in body.messages:
        if message.role in _SYSTEM_ROLES:
            parts = message.content or ()
            texts.append(parts if isinstance(parts, str) else "".join(_read_parts(parts)))
    return "\n".join(texts) if texts else None


def _read_parts(parts: Sequence[TextPart | RefusalPart]) -> Iterator[str]:
    for part in parts:
        yield part.text if isinstance(part, TextPart) else part.refusal
