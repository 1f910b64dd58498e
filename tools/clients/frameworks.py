"""Steps of frameworks around chat models: langchain, llama-index, litellm, haystack, dspy."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from steps import API, HELLO, MODEL, NAME, URL, WEATHER, Step, check, check_weather, run_steps

ASKED = "Say hello to the sea."


class Verdict(BaseModel):
    """The mood of the sea."""

    mood: Literal["calm", "wild"]
    deep: bool


def langchain_steps() -> dict[str, Step]:
    """Return the steps of langchain-openai."""
    from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

    def model(**more: Any) -> Any:
        return ChatOpenAI(model=MODEL, base_url=API, api_key="none", **{"max_tokens": 24, "max_retries": 0, **more})

    def tools() -> None:
        made = model(max_tokens=100).bind_tools([WEATHER], tool_choice="any").invoke(ASKED)
        check_weather(made.tool_calls[0]["args"])

    def structured(method: str) -> None:
        made = model(max_tokens=100).with_structured_output(Verdict, method=method).invoke(ASKED)
        check(isinstance(made, Verdict), made)

    def logprobs() -> None:
        made = model(logprobs=True, top_logprobs=2).invoke(ASKED)
        check(made.response_metadata["logprobs"]["content"], made)

    def overflow() -> None:
        try:
            model().invoke("sea " * 12_000)
        except Exception as error:
            check("maximum context length" in str(error) or "ContextOverflow" in type(error).__name__, error)
        else:
            check(False, "no error")

    def embeddings() -> None:
        made = OpenAIEmbeddings(
            model="all-minilm-l6-v2", base_url=API, api_key="none", check_embedding_ctx_length=False
        )
        check(len(made.embed_query("the sea")) == 384)

    return {
        "plain": lambda: check(model().invoke(ASKED).content),
        "stream": lambda: check([chunk.content for chunk in model().stream(ASKED)]),
        "tools": tools,
        "structured, by schema": lambda: structured("json_schema"),
        "structured, by tools": lambda: structured("function_calling"),
        "log-probabilities": logprobs,
        "responses": lambda: check(model(use_responses_api=True).invoke(ASKED).text),
        "responses in a stream": lambda: check(list(model(use_responses_api=True).stream(ASKED))),
        "completions": lambda: check(OpenAI(model=MODEL, base_url=API, api_key="none", max_tokens=8).invoke("Hi")),
        "embeddings": embeddings,
        "context overflow": overflow,
    }


def llama_index_steps() -> dict[str, Step]:
    """Return the steps of llama-index."""
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    def weather(town: Any) -> str:
        """The weather of a town."""
        return f"Sun in {town}."

    # This client reads annotations as they are, so they must not be texts, as those of this file are.
    weather.__annotations__["town"] = Literal["Oslo", "Rome"]
    flags = {"is_chat_model": True, "is_function_calling_model": True}
    model = OpenAILike(model=MODEL, api_base=API, api_key="none", max_tokens=60, max_retries=0, **flags)
    turns = [ChatMessage(role="user", content=ASKED)]

    def tools() -> None:
        answer = model.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg=ASKED, tool_required=True)
        check(model.get_tool_calls_from_response(answer)[0].tool_kwargs["town"] in ("Oslo", "Rome"), answer)

    def structured() -> None:
        from llama_index.core.prompts import PromptTemplate

        check(isinstance(model.structured_predict(Verdict, PromptTemplate(ASKED)), Verdict))

    return {
        "plain": lambda: check(model.chat(turns).message.content),
        "stream": lambda: check([part.delta for part in model.stream_chat(turns)]),
        "completion": lambda: check(model.complete("Hello").text),
        "tools": tools,
        "structured output": structured,
    }


def litellm_steps() -> dict[str, Step]:
    """Return the steps of litellm, which speaks several APIs."""
    import litellm

    litellm.telemetry = False
    there: Any = {"api_base": API, "api_key": "none", "num_retries": 0}
    asked: Any = {"model": f"openai/{MODEL}", "messages": HELLO, **there}
    texts = ["Bananas are yellow.", "Paris is the capital of France."]

    def tools() -> None:
        answer = litellm.completion(**asked, max_tokens=100, tools=[WEATHER], tool_choice="required")
        check_weather(answer.choices[0].message.tool_calls[0].function.arguments)

    def structured() -> None:
        answer = litellm.completion(**asked, max_tokens=60, response_format=Verdict)
        check(Verdict.model_validate_json(answer.choices[0].message.content))

    def rerank() -> None:
        more: Any = {"query": "What is the capital of France?", "documents": texts}
        for provider, base in {"hosted_vllm": API, "cohere": f"{URL}/v2/rerank", "jina_ai": f"{API}/rerank"}.items():
            answer = litellm.rerank(model=f"{provider}/{MODEL}", api_base=base, api_key="none", **more)
            check(answer.results[0]["index"] == 1, answer)

    def overflow() -> None:
        try:
            litellm.completion(**{**asked, "messages": [{"role": "user", "content": "sea " * 12_000}]})
        except litellm.ContextWindowExceededError:
            return
        check(False, "no ContextWindowExceededError")

    def anthropic() -> None:
        answer = litellm.completion(**{**asked, "model": f"anthropic/{MODEL}", "api_base": URL}, max_tokens=16)
        check(answer.choices[0].message.content and answer.usage.completion_tokens, answer)

    return {
        "plain": lambda: check(litellm.completion(**asked, max_tokens=16).choices[0].message.content),
        "stream": lambda: check(list(litellm.completion(**asked, max_tokens=16, stream=True))),
        "tools": tools,
        "structured output": structured,
        "log-probabilities": lambda: check(
            litellm.completion(**asked, max_tokens=8, logprobs=True, top_logprobs=2).choices[0].logprobs.content
        ),
        "text completion": lambda: check(
            litellm.text_completion(model=f"text-completion-openai/{MODEL}", prompt="Hi", max_tokens=8, **there)
        ),
        "responses": lambda: check(
            litellm.responses(model=f"openai/{MODEL}", input=ASKED, max_output_tokens=16, **there).output
        ),
        "messages of Anthropic": anthropic,
        "embeddings": lambda: check(litellm.embedding(model="openai/all-minilm-l6-v2", input=["sea"], **there).data),
        "rerank": rerank,
        "context overflow": overflow,
    }


def haystack_steps() -> dict[str, Step]:
    """Return the steps of haystack."""
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.tools import Tool
    from haystack.utils import Secret

    turns = [ChatMessage.from_user(ASKED)]

    def ask(more: Any = None, **how: Any) -> Any:
        settings = {"max_completion_tokens": 60, **(more or {})}
        key = Secret.from_token("none")
        made = OpenAIChatGenerator(
            model=MODEL, api_base_url=API, api_key=key, max_retries=0, generation_kwargs=settings, **how
        )
        return made.run(turns)["replies"][0]

    def tools() -> None:
        function = WEATHER["function"]
        assert isinstance(function, dict)
        tool = Tool(
            name="weather", description="The weather.", parameters=function["parameters"], function=lambda **_: "Sun."
        )
        check_weather(ask({"tool_choice": "required"}, tools=[tool]).tool_calls[0].arguments)

    def stream() -> None:
        chunks: list[Any] = []
        ask(streaming_callback=chunks.append)
        check(chunks)

    return {
        "plain": lambda: check(ask().text),
        "stream": stream,
        "tools": tools,
        "structured output": lambda: check(Verdict.model_validate_json(ask({"response_format": Verdict}).text)),
        "log-probabilities": lambda: check(ask({"logprobs": True, "top_logprobs": 2}).meta["logprobs"]),
    }


def dspy_steps() -> dict[str, Step]:
    """Return the steps of dspy."""
    import dspy
    import litellm

    # The client sends a schema to models that are known to take one, and only then has an answer to fit it.
    known: Any = {"litellm_provider": "openai", "mode": "chat", "supports_response_schema": True}
    litellm.register_model({f"openai/{MODEL}": known})
    model = dspy.LM(f"openai/{MODEL}", api_base=API, api_key="none", max_tokens=100, cache=False, num_retries=0)

    class Mood(dspy.Signature):
        """Judge the sea."""

        text: str = dspy.InputField()
        deep: bool = dspy.OutputField()

    def predict() -> None:
        with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
            check(isinstance(dspy.Predict(Mood)(text="It is deep.").deep, bool))

    return {
        "plain": lambda: check(model(ASKED)[0]),
        "log-probabilities": lambda: check(model(ASKED, logprobs=True)[0]["logprobs"].content),
        "structured output": predict,
    }


STEPS = {
    "langchain-openai": (langchain_steps, "langchain-openai"),
    "llama-index": (llama_index_steps, "llama-index-llms-openai-like"),
    "litellm": (litellm_steps, "litellm"),
    "haystack": (haystack_steps, "haystack-ai"),
    "dspy": (dspy_steps, "dspy"),
}

if __name__ == "__main__":
    build_steps, package = STEPS[NAME]
    run_steps(build_steps(), package)
