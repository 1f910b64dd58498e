"""Steps of the clients that are for structured output: instructor, outlines, guidance."""

from __future__ import annotations

import re
from typing import Any, Literal

import openai
from pydantic import BaseModel, Field
from steps import API, HELLO, MODEL, NAME, Step, check, run_steps


class Verdict(BaseModel):
    mood: Literal["calm", "wild"]
    deep: bool


class Trip(BaseModel):
    """A schema with keywords that grammars lack."""

    towns: set[Literal["Oslo", "Rome", "Lima"]] = Field(max_length=2)
    days: int = Field(ge=1, le=9)


CLIENT = openai.OpenAI(base_url=API, api_key="none", max_retries=0, timeout=120)


def instructor_steps() -> dict[str, Step]:
    """Return the steps of instructor, by its modes."""
    import instructor

    def ask(mode: Any, model: type[BaseModel] = Verdict) -> None:
        client = instructor.from_openai(CLIENT, mode=mode)
        made = client.create(model=MODEL, messages=HELLO, response_model=model, max_tokens=100, max_retries=0)
        check(isinstance(made, model), made)

    def partial() -> None:
        client = instructor.from_openai(CLIENT, mode=instructor.Mode.TOOLS)
        made = list(client.create_partial(model=MODEL, messages=HELLO, response_model=Verdict, max_tokens=100))
        check(made[-1].mood in ("calm", "wild"), made[-1:])

    modes = {"tools": "TOOLS", "JSON schema": "JSON_SCHEMA"}
    steps: dict[str, Step] = {step: lambda mode=mode: ask(instructor.Mode[mode]) for step, mode in modes.items()}
    return {**steps, "tools in a stream": partial, "a set": lambda: ask(instructor.Mode.TOOLS, Trip)}


def outlines_steps() -> dict[str, Step]:
    """Return the steps of outlines, as a client of OpenAI, vLLM and SGLang."""
    import outlines
    from outlines.types import CFG, JsonSchema, Regex

    sums = CFG('start: DIGIT ("+" DIGIT)*\nDIGIT: /[0-9]/')
    openai_model = outlines.from_openai(CLIENT, MODEL)
    vllm_model = outlines.from_vllm(CLIENT, MODEL)
    sglang_model = outlines.from_sglang(CLIENT, MODEL)

    def fit(model: Any) -> None:
        text = model("A year:", Regex(r"[0-9]{4}"), max_tokens=20)
        check(re.fullmatch(r"[0-9]{4}", text), text)

    def parse(model: Any) -> None:
        text = model("A sum:", sums, max_tokens=6)
        check(re.match(r"[0-9](\+[0-9])*\+?$", text), text)

    def fit_schema(model: Any, **options: Any) -> None:
        text = model("The sea", JsonSchema(Verdict.model_json_schema(), **options), max_tokens=60)
        check(Verdict.model_validate_json(text))
        check(not options or "\n" not in text, text)

    return {
        "plain": lambda: check(openai_model("Hello", max_tokens=8)),
        "structured output": lambda: check(
            Verdict.model_validate_json(openai_model("The sea", Verdict, max_tokens=60))
        ),
        "stream": lambda: check("".join(openai_model.stream("Hello", max_tokens=8))),
        "regex as for vLLM": lambda: fit(vllm_model),
        "schema as for vLLM": lambda: fit_schema(vllm_model),
        "white space as for vLLM": lambda: fit_schema(vllm_model, whitespace_pattern=" ?"),
        "grammar as for vLLM": lambda: parse(vllm_model),
        "regex as for SGLang": lambda: fit(sglang_model),
        "schema as for SGLang": lambda: fit_schema(sglang_model),
        "grammar as for SGLang": lambda: parse(sglang_model),
    }


def guidance_steps() -> dict[str, Step]:
    """Return the steps of guidance, as a client of OpenAI, vLLM and SGLang."""
    from guidance import assistant, gen, json, models, select, user
    from guidance.models.experimental import SglangModel, VLLMModel

    def chat(body: Any, kind: Any = models.OpenAI) -> Any:
        with user():
            model = kind(MODEL, base_url=API, api_key="none", echo=False) + "Say hello to the sea."
        with assistant():
            return model + body

    def choose(kind: Any) -> None:
        made = chat("It is " + select(["calm", "wild"], name="mood") + gen("year", regex="[0-9]{4}"), kind)
        check(made["mood"] in ("calm", "wild") and re.fullmatch("[0-9]{4}", made["year"]), made)

    return {
        "grammar as for vLLM": lambda: choose(VLLMModel),
        "grammar as for SGLang": lambda: choose(SglangModel),
        "plain": lambda: check(chat(gen("text", max_tokens=12))["text"]),
        "structured output": lambda: check(
            Verdict.model_validate_json(chat(json("made", schema=Verdict, max_tokens=60))["made"])
        ),
    }


STEPS = {"instructor": instructor_steps, "outlines": outlines_steps, "guidance": guidance_steps}

if __name__ == "__main__":
    run_steps(STEPS[NAME](), NAME)
