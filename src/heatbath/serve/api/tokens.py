"""POST /tokenize and /detokenize."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from heatbath.serve.api.call import Call
from heatbath.serve.api.logprobs import Speller
from heatbath.serve.api.prompts import aside, chat_prompt
from heatbath.serve.api.schema.chat import ChatRequest
from heatbath.serve.api.schema.models import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest
from heatbath.serve.errors import invalid_value


async def tokenize(call: Call) -> Response:
    """The tokens of a text or of a conversation."""
    asked = await call.body(TokenizeRequest)
    if asked.model is not None:
        call.services.model_names.resolve(asked.model)
    if (asked.prompt is None) == (asked.messages is None):
        raise invalid_value("the body has both or neither of prompt and messages: give one of them.", "prompt")
    tokens = await aside(partial(_tokens, call, asked), len(await call.request.body()))
    spell = Speller(call.language)
    texts = [spell.text(token) for token in tokens] if asked.return_token_strs else None
    length = call.language.context_length
    return call.answer(Tokenized(count=len(tokens), max_model_len=length, tokens=tokens, token_strs=texts))


def _tokens(call: Call, asked: TokenizeRequest) -> list[int]:
    if asked.messages is None:
        return list(call.language.encode(asked.prompt or ""))
    ends = {name: getattr(asked, name) for name in ("add_generation_prompt", "continue_final_message")}
    return list(chat_prompt(call.language, ChatRequest(model="", messages=asked.messages, **ends), ()))


async def detokenize(call: Call) -> Response:
    """The text of tokens."""
    asked = await call.body(DetokenizeRequest)
    if asked.model is not None:
        call.services.model_names.resolve(asked.model)
    size = call.language.vocabulary.size
    for i, token in enumerate(asked.tokens):
        if token >= size:
            raise invalid_value(f"tokens[{i}] is {token}: give ids below {size}.", f"tokens[{i}]")
    text = await aside(partial(call.language.decode, asked.tokens), len(asked.tokens))
    return call.answer(Detokenized(text))
