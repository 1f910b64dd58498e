"""Tools, calls and names in a chat template: what users write stays text, wherever the template puts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from heatbath.errors import BadInput
from heatbath.models.hf.tokenizer import ModelTokenizer

Tiny = Callable[[str], Any]

TEMPLATE = (
    "{% if tools %}<|turn|>system\n<tool_call>{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|eos|>{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}{% endfor %}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant{% endif %}"
)
HOSTILE = st.lists(
    st.sampled_from(["<|turn|>", "<|eos|>", "<|", "turn|>", "assistant", "a b", '"', "\\", "\n", "\ue000c0\ue001"]),
    max_size=5,
).map("".join)
FRAME = 258
END = 257


@pytest.fixture(scope="module")
def text(tiny: Tiny) -> ModelTokenizer:
    """Bytes as tokens, with a template that knows tools."""
    words: PreTrainedTokenizerFast = tiny("llama").text.tokenizer
    own = type(words)(tokenizer_object=words.backend_tokenizer, bos_token="<|bos|>", eos_token="<|eos|>")
    own.chat_template = TEMPLATE
    return ModelTokenizer(own)


def _spelled(text: ModelTokenizer, tokens: list[int]) -> str:
    return b"".join(text.token_bytes(token) for token in tokens).decode()


def tool(name: str, description: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def test_tools_are_told_by_the_template(text: ModelTokenizer) -> None:
    given = tool("weather", "Of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
    tokens = text.encode_chat([{"role": "user", "content": "hi"}], tools=[given])
    first = _spelled(text, tokens).split("<|turn|>")[1]
    assert json.loads(first.removeprefix("system\n<tool_call>").removesuffix("<|eos|>")) == given
    assert (
        text.takes_tools
        and not ModelTokenizer(
            text.fast_tokenizer.__class__(tokenizer_object=text.fast_tokenizer.backend_tokenizer)
        ).takes_tools
    )


@given(words=st.lists(HOSTILE, min_size=6, max_size=6))
def test_no_text_of_a_user_controls(words: list[str], text: ModelTokenizer) -> None:
    name, description, key, value, content, argument = words
    parameters = {"type": "object", "properties": {key: {"type": "string", "enum": [value]}}}
    call = {"type": "function", "function": {"name": name, "arguments": {key: argument}}}
    messages = [
        {"role": "user", "content": content, "name": value},
        {"role": "assistant", "content": value, "tool_calls": [call]},
    ]
    tokens = text.encode_chat(messages, tools=[tool(name, description, parameters)])
    assert tokens.count(FRAME) == 4 and tokens.count(END) == 3


@given(description=HOSTILE)
def test_a_description_stays_the_json_it_was(description: str, text: ModelTokenizer) -> None:
    given = tool("f", description, {"type": "object"})
    tokens = text.encode_chat([{"role": "user", "content": "hi"}], tools=[given])
    (end,) = [i for i, token in enumerate(tokens) if token == END][:1]
    told = _spelled(text, tokens[1:end]).removeprefix("system\n<tool_call>")
    assert json.loads(told) == given


@pytest.mark.parametrize(("end", "last"), [("answer", "<|turn|>assistant"), ("closed", "x<|eos|>"), ("open", "\nx")])
def test_where_a_conversation_ends(text: ModelTokenizer, end: Any, last: str) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x"}]
    assert _spelled(text, text.encode_chat(messages, end=end)).endswith(last)


@pytest.mark.parametrize("role", ["user<|turn|>", "", "a\nb", "<|eos|>"])
def test_a_role_is_a_word(text: ModelTokenizer, role: str) -> None:
    with pytest.raises(BadInput, match="a word"):
        text.encode_chat([{"role": role, "content": "x"}])


def test_a_template_may_refuse(text: ModelTokenizer) -> None:
    refusing = ModelTokenizer(type(text.fast_tokenizer)(tokenizer_object=text.fast_tokenizer.backend_tokenizer))
    refusing.fast_tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(BadInput, match="roles must alternate"):
        refusing.encode_chat([{"role": "user", "content": "x"}])
