"""Steps of the clients that the owners of an API publish: OpenAI, Anthropic, Cohere."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from steps import API, HELLO, MODEL, NAME, URL, WEATHER, WEATHER_SCHEMA, Step, check, check_weather, run_steps


class Verdict(BaseModel):
    mood: Literal["calm", "wild"]
    deep: bool


def openai_steps() -> dict[str, Step]:
    """Return the steps of openai-python."""
    import openai

    client = openai.OpenAI(base_url=API, api_key="none", max_retries=0, timeout=120)
    return {**openai_chat_steps(client), **openai_response_steps(client)}


def openai_chat_steps(client: Any) -> dict[str, Step]:
    """Return the steps over chat, completions and embeddings."""
    import openai

    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 16}

    def stream() -> None:
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
        check(chunks[-1].usage.completion_tokens > 0 and chunks[-2].choices[0].finish_reason, chunks[-2:])

    def tools() -> None:
        answer = client.chat.completions.create(**{**asked, "max_tokens": 80}, tools=[WEATHER], tool_choice="required")
        check_weather(answer.choices[0].message.tool_calls[0].function.arguments)

    def tools_in_a_stream() -> None:
        more = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
        with client.chat.completions.stream(**{**asked, "max_tokens": 80}, **more) as events:
            check_weather(events.get_final_completion().choices[0].message.tool_calls[0].function.arguments)

    def structured() -> None:
        answer = client.chat.completions.parse(**{**asked, "max_tokens": 60}, response_format=Verdict)
        check(isinstance(answer.choices[0].message.parsed, Verdict), answer)

    def logprobs() -> None:
        answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
        check(all(len(each.top_logprobs) == 3 for each in answer.choices[0].logprobs.content), answer)

    def embeddings() -> None:
        names = [model.id for model in client.models.list()]
        check(len(client.embeddings.create(model=names[-1], input="the sea").data[0].embedding) == 384)

    def moderations() -> None:
        try:
            client.moderations.create(input="x")
        except openai.NotFoundError as error:
            check("no policy" in str(error), error)

    return {
        "models": lambda: check(client.models.retrieve(MODEL).id == MODEL),
        "plain": lambda: check(client.chat.completions.create(**asked).choices[0].message.content),
        "stream": stream,
        "tools": tools,
        "tools in a stream": tools_in_a_stream,
        "structured output": structured,
        "log-probabilities": logprobs,
        "completions": lambda: check(client.completions.create(model=MODEL, prompt="Hi", echo=True, logprobs=1)),
        "embeddings": embeddings,
        "moderations are refused": moderations,
    }


def openai_response_steps(client: Any) -> dict[str, Step]:
    """Return the steps over responses."""
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER_SCHEMA}

    def responses() -> None:
        first = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16)
        check(first.output_text, first)
        after = client.responses.create(model=MODEL, input="Again.", previous_response_id=first.id, max_output_tokens=8)
        check(after.output_text, after)

    def responses_stream() -> None:
        with client.responses.stream(model=MODEL, input="Say hello.", max_output_tokens=16) as events:
            kinds = [event.type for event in events]
        check(kinds[0] == "response.created" and "response.output_text.delta" in kinds, kinds)

    def responses_tools() -> None:
        more: Any = {"tools": [tool], "tool_choice": "required", "max_output_tokens": 80}
        answer = client.responses.create(model=MODEL, input="The weather?", **more)
        check_weather(answer.output[0].arguments)

    def responses_structured() -> None:
        answer = client.responses.parse(model=MODEL, input="The sea?", text_format=Verdict, max_output_tokens=60)
        check(isinstance(answer.output_parsed, Verdict), answer)

    return {
        "responses": responses,
        "responses in a stream": responses_stream,
        "responses with tools": responses_tools,
        "responses, structured": responses_structured,
    }


def anthropic_steps() -> dict[str, Step]:
    """Return the steps of the client of Anthropic."""
    import anthropic

    client = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=120)
    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 16}
    tool: Any = {"name": "weather", "description": "The weather of a town.", "input_schema": WEATHER_SCHEMA}
    forced: Any = {**asked, "max_tokens": 80, "tools": [tool], "tool_choice": {"type": "any"}}

    def plain() -> None:
        answer = client.messages.create(**asked, system="Be brief.", stop_sequences=["\n\n\n"])
        check(answer.content[0].text and answer.stop_reason in ("end_turn", "max_tokens"), answer)
        check(answer.usage.output_tokens > 0 and answer._request_id, answer)

    def stream() -> None:
        with client.messages.stream(**asked) as events:
            text = "".join(events.text_stream)
            message = events.get_final_message()
        check(text and message.content[0].text == text and message.stop_reason, message)

    def tools() -> None:
        first = client.messages.create(**forced)
        call = first.content[-1]
        check(first.stop_reason == "tool_use", first)
        check_weather(call.input)
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sun."}
        turns: Any = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        check(client.messages.create(**{**asked, "messages": turns}, tools=[tool]).stop_reason)

    def tools_in_a_stream() -> None:
        with client.messages.stream(**forced) as events:
            check_weather(events.get_final_message().content[-1].input)

    def structured() -> None:
        answer = client.messages.parse(**{**asked, "max_tokens": 60}, output_format=Verdict)
        check(isinstance(answer.parsed_output, Verdict), answer)

    async def asynchronous() -> None:
        async with anthropic.AsyncAnthropic(base_url=URL, auth_token="none", max_retries=0) as other:
            kinds = [event.type async for event in await other.messages.create(**asked, stream=True)]
        check(kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds)

    return {
        "plain": plain,
        "stream": stream,
        "events": asynchronous,
        "tools": tools,
        "tools in a stream": tools_in_a_stream,
        "structured output": structured,
        "count of tokens": lambda: check(client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 5),
        "errors": lambda: check_anthropic_errors(client, asked),
    }


def check_anthropic_errors(client: Any, asked: Any) -> None:
    """Raise unless errors are those of the client."""
    import anthropic

    try:
        client.messages.create(**{**asked, "model": "nobody"})
    except anthropic.NotFoundError as error:
        check(error.body["error"]["type"] == "not_found_error" and error.request_id, error.body)
    try:
        client.messages.create(**asked, extra_body={"temperature": -1})
    except anthropic.BadRequestError as error:
        check("temperature" in error.message, error.body)
    else:
        check(False, "no error")


def cohere_steps() -> dict[str, Step]:
    """Return the steps of the client of Cohere, of which this server knows the reranker."""
    import cohere

    texts = ["Bananas are yellow.", "Paris is the capital of France.", "Water boils at 100 degrees."]
    query = "What is the capital of France?"

    def rerank(client: Any) -> None:
        answer = client.rerank(model=MODEL, query=query, documents=texts, top_n=2)
        check(len(answer.results) == 2 and answer.results[0].index == 1, answer)

    return {
        "rerank, version 2": lambda: rerank(cohere.ClientV2(api_key="none", base_url=URL)),
        "rerank, version 1": lambda: rerank(cohere.Client(api_key="none", base_url=URL)),
    }


STEPS = {"openai": openai_steps, "anthropic": anthropic_steps, "cohere": cohere_steps}

if __name__ == "__main__":
    run_steps(STEPS[NAME](), NAME)
