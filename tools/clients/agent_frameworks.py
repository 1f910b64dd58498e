"""Steps of frameworks of agents and of evaluations by agents: pydantic-ai, openai-agents, inspect-ai."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import BaseModel
from steps import API, MODEL, NAME, Step, check, run_steps

ASKED = "Say hello to the sea."


class Verdict(BaseModel):
    mood: Literal["calm", "wild"]
    deep: bool


def pydantic_ai_steps() -> dict[str, Step]:
    """Return the steps of pydantic-ai over both APIs of OpenAI."""
    from pydantic_ai import Agent, ToolOutput
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.settings import ModelSettings

    provider = OpenAIProvider(base_url=API, api_key="none")
    few, more = ModelSettings(max_tokens=24), ModelSettings(max_tokens=100)
    chat, responses = OpenAIChatModel(MODEL, provider=provider), OpenAIResponsesModel(MODEL, provider=provider)

    async def plain(model: Any) -> None:
        check((await Agent(model, model_settings=few).run(ASKED)).output)

    async def stream(model: Any) -> None:
        async with Agent(model, model_settings=few).run_stream(ASKED) as result:
            check([part async for part in result.stream_text(delta=True)])

    async def structured(model: Any) -> None:
        agent = Agent(model, output_type=ToolOutput(Verdict), model_settings=more)
        check(isinstance((await agent.run(ASKED)).output, Verdict))

    async def tools(model: Any) -> None:
        agent = Agent(model, model_settings=few)
        agent.tool_plain(_weather)
        check((await agent.run(ASKED)).output is not None)

    steps = {"plain": plain, "stream": stream, "structured output": structured, "tools": tools}
    named = {"chat": chat, "responses": responses}
    return {f"{name}: {step}": lambda f=f, m=m: f(m) for name, m in named.items() for step, f in steps.items()}


def _weather(town: Literal["Oslo", "Rome"]) -> str:
    """The weather of a town."""
    return f"Sun in {town}."


def openai_agents_steps() -> dict[str, Step]:
    """Return the steps of openai-agents: its default over responses, and over chat."""
    from agents import (
        Agent,
        ModelSettings,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        OpenAIResponsesWSModel,
        Runner,
        SQLiteSession,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    weather = function_tool(_weather)

    async def ask(
        kind: Any, *, stream: bool = False, settings: Any = None, asked: str = ASKED, session: Any = None, **more: Any
    ) -> Any:
        websocket = f"ws{API.removeprefix('http')}"
        client = AsyncOpenAI(base_url=API, websocket_base_url=websocket, api_key="none", max_retries=0)
        model = kind(model=MODEL, openai_client=client)
        agent = Agent(name="a", instructions="Be brief.", model=model, model_settings=settings or few, **more)
        if not stream:
            return (await Runner.run(agent, asked, max_turns=2, session=session)).final_output
        result = Runner.run_streamed(agent, asked, max_turns=2)
        check([event async for event in result.stream_events()])
        return result.final_output

    # This client takes a response that a limit cuts for an error, so the texts are short by their form.
    short = {"structured_outputs": {"regex": "[A-Z][a-z ]{4,20}"}}
    few, more = ModelSettings(max_tokens=40, extra_body=short), ModelSettings(max_tokens=100)

    async def structured(kind: Any) -> None:
        check(isinstance(await ask(kind, settings=more, output_type=Verdict), Verdict))

    async def tools(kind: Any) -> None:
        forced = ModelSettings(max_tokens=100, tool_choice="required")
        found = await ask(kind, settings=forced, tools=[weather], tool_use_behavior="stop_on_first_tool")
        check(found in ("Sun in Oslo.", "Sun in Rome."), found)

    async def said(kind: Any, **how: Any) -> None:
        check(await ask(kind, **how))

    async def session(kind: Any) -> None:
        memory = SQLiteSession("sea")
        for turn in (ASKED, "And again."):
            check(await ask(kind, asked=turn, session=memory))
        check(len(await memory.get_items()) == 4)

    steps: dict[str, Step] = {}
    named = {
        "responses": OpenAIResponsesModel,
        "websocket": OpenAIResponsesWSModel,
        "chat": OpenAIChatCompletionsModel,
    }
    for name, kind in named.items():
        steps[f"{name}: plain"] = lambda kind=kind: said(kind)
        steps[f"{name}: stream"] = lambda kind=kind: said(kind, stream=True)
        steps[f"{name}: structured output"] = lambda kind=kind: structured(kind)
        steps[f"{name}: tools"] = lambda kind=kind: tools(kind)
        steps[f"{name}: session"] = lambda kind=kind: session(kind)
    return steps


def inspect_steps() -> dict[str, Step]:
    """Return the steps of inspect-ai: its models, and an evaluation of one sample."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, ResponseSchema, get_model
    from inspect_ai.scorer import includes
    from inspect_ai.tool import ToolInfo, ToolParams
    from inspect_ai.util import JSONSchema, json_schema

    os.environ.setdefault("INSPECT_LOG_DIR", "logs")
    config = GenerateConfig(max_tokens=24, max_retries=0)

    def model(**more: Any) -> Any:
        return get_model(f"openai/{MODEL}", base_url=API, api_key="none", memoize=False, **more)

    async def plain(**more: Any) -> None:
        check((await model(**more).generate(ASKED, config=config)).completion)

    async def logprobs() -> None:
        asked = config.merge(GenerateConfig(logprobs=True, top_logprobs=2))
        check((await model(responses_api=False).generate(ASKED, config=asked)).choices[0].logprobs.content)

    async def tools() -> None:
        params = ToolParams(properties={"town": JSONSchema(type="string", enum=["Oslo", "Rome"])}, required=["town"])
        tool = ToolInfo(name="weather", description="The weather of a town.", parameters=params)
        asked = GenerateConfig(max_tokens=100, max_retries=0)
        found = await model(responses_api=False).generate(ASKED, tools=[tool], tool_choice="any", config=asked)
        check(found.message.tool_calls[0].arguments["town"] in ("Oslo", "Rome"), found.message)

    async def structured() -> None:
        form = ResponseSchema(name="verdict", json_schema=json_schema(Verdict))
        asked = GenerateConfig(max_tokens=100, max_retries=0, response_schema=form)
        found = await model(responses_api=False).generate(ASKED, config=asked)
        check(Verdict.model_validate_json(found.completion))

    def evaluation() -> None:
        task = Task(dataset=[Sample(input="Say hello.", target="hello")], scorer=includes(), config=config)
        (log,) = eval(task, model=model(), display="none", log_dir="logs")
        check(log.status == "success", log.error)

    return {
        "responses: plain": plain,
        "chat: plain": lambda: plain(responses_api=False),
        "log-probabilities": logprobs,
        "tools": tools,
        "structured output": structured,
        "evaluation": evaluation,
    }


STEPS = {
    "pydantic-ai": (pydantic_ai_steps, "pydantic-ai-slim"),
    "openai-agents": (openai_agents_steps, "openai-agents"),
    "inspect-ai": (inspect_steps, "inspect-ai"),
}

if __name__ == "__main__":
    build_steps, package = STEPS[NAME]
    run_steps(build_steps(), package)
