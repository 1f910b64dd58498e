"""POST /tokenize and /detokenize, and GET /tokenizer_info."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.responses import Response

from heatbath.engine.base import ModelInfo
from heatbath.models.base import TokenizerModel
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.outputs import TokenTexts
from heatbath.serve.openai.prompts import chat_prompt
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.models import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse


async def tokenize(context: RequestContext) -> Response:
    """Return the tokens of a text or of a conversation."""
    body = await context.read_body(TokenizeRequest)
    if body.model is not None:
        context.services.model_names.resolve(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise invalid_value("the body has both or neither of prompt and messages: give one of them.", "prompt")
    tokens = await context.offload(partial(_encode, context, body))
    texts = TokenTexts(context.language)
    strings = [texts.text(token) for token in tokens] if body.return_token_strs else None
    length = context.language.context_length
    return context.json_response(
        TokenizeResponse(count=len(tokens), max_model_len=length, tokens=tokens, token_strs=strings)
    )


def _encode(context: RequestContext, body: TokenizeRequest) -> list[int]:
    if body.messages is None:
        return _encode_text(context.language, body)
    ends = {name: getattr(body, name) for name in ("add_generation_prompt", "continue_final_message")}
    return list(chat_prompt(context.language, ChatRequest(model="", messages=body.messages, **ends), ()))


def _encode_text(language: ModelInfo, body: TokenizeRequest) -> list[int]:
    text, start = body.prompt or "", body.add_special_tokens is not False
    if body.parse_special is not False and isinstance(language, TokenizerModel):
        return list(language.encode_with_control_tokens(text, document_start=start))
    return list(language.encode(text, document_start=start))


async def detokenize(context: RequestContext) -> Response:
    """Return the text of tokens."""
    body = await context.read_body(DetokenizeRequest)
    if body.model is not None:
        context.services.model_names.resolve(body.model)
    size = context.language.vocabulary.size
    for i, token in enumerate(body.tokens):
        if token >= size:
            raise invalid_value(f"tokens[{i}] is {token}: give ids below {size}.", f"tokens[{i}]")
    text = await context.offload(partial(context.language.decode, body.tokens))
    return context.json_response(DetokenizeResponse(text))


async def tokenizer_info(context: RequestContext) -> Response:
    """Return the configuration of the tokenizer, as vLLM does."""
    return context.json_response(describe_tokenizer(context.language))


def describe_tokenizer(language: ModelInfo) -> dict[str, Any]:
    """Return the configuration of the model's tokenizer; for a model without one, its control tokens."""
    if isinstance(language, TokenizerModel):
        return language.tokenizer_config
    vocabulary = language.vocabulary
    tokens = {"bos_token": vocabulary.start_token_ids, "eos_token": vocabulary.stop_token_ids}
    config = {name: language.decode(ids[:1]) for name, ids in tokens.items() if ids}
    return {"tokenizer_class": type(language).__name__, **config}
