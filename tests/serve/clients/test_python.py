"""The official OpenAI client for Python against a real server process."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import numpy as np
import pytest
from commanded import MODEL
from process import Running
from pydantic import BaseModel

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.weights

HELLO = [{"role": "user", "content": "Say hello to the sea."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["town", "days"],
            "additionalProperties": False,
        },
    },
}


class Verdict(BaseModel):
    mood: Literal["calm", "wild"]
    deep: bool


@pytest.fixture(scope="module")
def client(real: Running) -> Any:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def test_models_are_listed_and_found(client: Any) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


def test_chat_answers(client: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, temperature=0)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer._request_id
    assert choice.message.role == "assistant" and choice.message.content and choice.message.refusal is None
    assert choice.finish_reason in ("stop", "length") and choice.logprobs is None
    assert answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


def test_a_stream_says_what_the_whole_answer_says(client: Any) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "max_tokens": 16, "seed": 5, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:-1])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, whole.choices[0].finish_reason]
    assert chunks[-1].choices == [] and all(chunk.usage is None for chunk in chunks[:-1])
    counted = (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)
    assert counted == (whole.usage.prompt_tokens, whole.usage.completion_tokens)


def test_a_stream_without_usage_has_none(client: Any) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_n_answers_are_numbered_and_differ(client: Any) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "max_tokens": 8, "n": 3, "seed": 1, "temperature": 2}
    answer = client.chat.completions.create(**asked)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)


def test_a_schema_is_held_to(client: Any) -> None:
    asked = [{"role": "user", "content": "Is the sea calm or wild? Answer in JSON."}]
    parsed = client.chat.completions.parse(model=MODEL, messages=asked, response_format=Verdict, max_tokens=60, seed=2)
    assert isinstance(parsed.choices[0].message.parsed, Verdict)
    with client.chat.completions.stream(
        model=MODEL, messages=asked, response_format=Verdict, max_tokens=60, seed=3
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Verdict)


def test_json_without_a_schema_is_an_object(client: Any) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=HELLO, response_format={"type": "json_object"}, max_tokens=200, seed=1, temperature=0.3
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_tool_that_must_be_called_is_called(client: Any, choice: Any) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "tools": [WEATHER], "tool_choice": choice}
    asked |= {"max_tokens": 80, "seed": 1, "parallel_tool_calls": False}
    answer = client.chat.completions.create(**asked).choices[0]
    assert answer.finish_reason in (("tool_calls",) if choice == "required" else ("tool_calls", "stop"))
    calls = answer.message.tool_calls
    assert calls and calls[0].id and calls[0].type == "function" and calls[0].function.name == "weather"
    given = json.loads(calls[0].function.arguments)
    assert given["town"] in ("Oslo", "Rome") and 1 <= given["days"] <= 9
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert [call.function.arguments for call in streamed] == [call.function.arguments for call in calls]


def test_a_tool_that_may_be_called_leaves_words_possible(client: Any) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "tools": [WEATHER], "max_tokens": 20, "seed": 1}
    for tool_choice in ("auto", "none"):
        message = client.chat.completions.create(**asked, tool_choice=tool_choice).choices[0].message
        assert message.content or (message.tool_calls and tool_choice == "auto")


def test_a_call_and_its_result_may_be_told(client: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Oslo"}'}}
    messages: list[dict[str, Any]] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], max_tokens=4)
    assert answer.choices[0].message


def test_logprobs_are_those_of_a_forward_pass(client: Any, smollm2: Any) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=8, seed=3, logprobs=True, top_logprobs=4
    )
    found = answer.choices[0].logprobs.content
    assert len(found) == answer.usage.completion_tokens or found
    prompt = smollm2.encode_chat(HELLO)
    tokens = [next(t for t in _candidates(smollm2, each)) for each in found]
    window = [
        row for part in smollm2.score([prompt + tokens]) for row in zip(part.positions, part.energies, strict=True)
    ]
    for (_, energies), each, token in zip(window[len(prompt) - 1 :], found, tokens, strict=False):
        logits = -np.asarray(energies, np.float64)
        logprobs = logits - np.logaddexp.reduce(logits)
        assert each.logprob == pytest.approx(logprobs[token], abs=1e-4)
        best = np.sort(logprobs)[::-1][:4]
        assert [top.logprob for top in each.top_logprobs] == pytest.approx(best, abs=1e-4)
        assert sum(map(math.exp, (top.logprob for top in each.top_logprobs))) <= 1 + 1e-6


def _candidates(model: Any, each: Any) -> list[int]:
    """Tokens that have these bytes."""
    return [token for token in range(model.vocabulary.size) if model.token_bytes(token) == bytes(each.bytes)]


def test_completions_echo_and_score_the_prompt(client: Any, smollm2: Any) -> None:
    tokens = smollm2.encode("The sea is deep")
    answer = client.completions.create(model=MODEL, prompt=tokens, max_tokens=2, echo=True, logprobs=2, temperature=0)
    scored = answer.choices[0].logprobs
    assert scored.token_logprobs[0] is None and scored.top_logprobs[0] is None
    assert len(scored.tokens) == len(scored.token_logprobs) == len(scored.text_offset) == len(tokens) + 2
    assert "".join(scored.tokens) == answer.choices[0].text and answer.choices[0].text.startswith("The sea is deep")
    batch = client.completions.create(model=MODEL, prompt=["One", "Two"], max_tokens=2, n=2)
    assert [choice.index for choice in batch.choices] == [0, 1, 2, 3]
    streamed = client.completions.create(model=MODEL, prompt="One", max_tokens=3, temperature=0, stream=True)
    whole = client.completions.create(model=MODEL, prompt="One", max_tokens=3, temperature=0)
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text


def test_embeddings_are_the_same_in_base64_and_in_numbers(client: Any) -> None:
    texts = ["the sea", "the ocean", "a tax form"]
    name = next((model.id for model in client.models.list() if model.id != MODEL), MODEL)
    packed = client.embeddings.create(model=name, input=texts)
    plain = client.embeddings.create(model=name, input=texts, encoding_format="float")
    first, second = (np.asarray([each.embedding for each in found.data]) for found in (packed, plain))
    assert first == pytest.approx(second, abs=1e-6)
    near, far = first[0] @ first[1], first[0] @ first[2]
    assert near > far
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0


def test_decisions_are_probabilities(client: Any) -> None:
    questions: list[dict[str, Any]] = [
        {"type": "predicate", "instructions": "Is this about water?"},
        {
            "type": "choice",
            "instructions": "What is it about?",
            "choices": [{"value": "sea", "description": "The sea"}, {"value": "tax", "description": "Taxes"}],
        },
        {
            "type": "score",
            "instructions": "How wet is it?",
            "levels": [{"label": "dry", "description": "Dry"}, {"label": "wet", "description": "Wet"}],
        },
    ]
    found = client.decisions.create(model=MODEL, input="The sea is deep and cold.", questions=questions)
    predicate, choice, score = found.answers
    assert 0 <= predicate.probability <= 1
    assert sum(each.probability for each in choice.probabilities) == pytest.approx(1, abs=1e-6)
    assert choice.choice in ("sea", "tax") and 0 <= choice.confidence <= 1
    assert sum(each.probability for each in score.probabilities) == pytest.approx(1, abs=1e-6)


def test_thermo_comes_with_the_answer_where_it_is_asked_for(client: Any) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "max_tokens": 5, "seed": 1}
    plain = client.chat.completions.create(**asked)
    assert "thermo" not in (plain.choices[0].model_extra or {})
    found = client.chat.completions.create(**asked, extra_body={"thermo": {"records": True}})
    thermo = found.choices[0].thermo
    assert len(thermo["records"]["entropy"]) == found.usage.completion_tokens
    assert found.choices[0].message.content == plain.choices[0].message.content


def test_fields_of_other_servers_work_through_the_extra_body(client: Any) -> None:
    more: dict[str, Any] = {"top_k": 1, "min_p": 0.1, "min_tokens": 1, "repetition_penalty": 1.1}
    more["structured_outputs"] = {"choice": ["up", "down"]}
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, extra_body=more)
    assert answer.choices[0].message.content in ("up", "down")


def test_a_pattern_of_a_billion_letters_holds_nothing_up(client: Any) -> None:
    more = {"structured_outputs": {"regex": "(a{1000}){1000}{1000}"}}
    try:
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=3, extra_body=more)
        assert set(answer.choices[0].message.content) == {"a"}
    except openai.BadRequestError as error:
        assert error.param


def test_a_stored_answer_is_given_back(client: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, store=True)
    again = client.chat.completions.retrieve(answer.id)
    assert again.choices[0].message.content == answer.choices[0].message.content
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve("chatcmpl-nobody")


def schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "temperature": ({"temperature": -1}, openai.BadRequestError, "temperature"),
    "top_logprobs without logprobs": ({"top_logprobs": 2}, openai.BadRequestError, "top_logprobs"),
    "model": ({"model": "gpt-5"}, openai.NotFoundError, "model"),
    "messages": ({"messages": []}, openai.BadRequestError, "messages"),
    "context": ({"messages": [{"role": "user", "content": "deep " * 9000}]}, openai.BadRequestError, "messages"),
    "audio": ({"modalities": ["text", "audio"]}, openai.BadRequestError, "modalities"),
    "n": ({"n": 0}, openai.BadRequestError, "n"),
    "a schema of schemas": ({"response_format": schema_of({"$ref": "#"})}, openai.BadRequestError, "response_format"),
    "a schema of nothing": (
        {"response_format": schema_of({"type": "void"})},
        openai.BadRequestError,
        "response_format",
    ),
    "a sampler nobody has": ({"extra_body": {"thermo": {"sampler": "../x"}}}, openai.BadRequestError, "thermo"),
    "a field nobody has": ({"extra_body": {"thermo": {"fields": {"x": 1}}}}, openai.BadRequestError, "thermo"),
    "a tool without parameters that are a schema": (
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 5}}}],
            "tool_choice": "required",
        },
        openai.BadRequestError,
        "tools",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_a_mistake_raises_its_class_and_names_the_field(client: Any, name: str, stream: bool) -> None:
    more, kind, param = WRONG[name]
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO, "stream": stream, **more}
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**asked)
    error: Any = caught.value
    assert type(error) is kind and error.param.startswith(param) and error.code and error.type and error.request_id
    assert set(error.body) == {"message", "type", "param", "code"}
