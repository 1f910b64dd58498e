"""No byte of a denied text leaves on any surface, whatever is asked for; the same text always gets the same verdict."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gated import HELLO, TOOL, Gated, Pieces, gated, talk, tool_call
from judges import SECRET
from surfaces import read_outcome, read_texts

CARD = "4111 1111 1111 1111"
RULES = {
    "phrase": ("deny", f"match: {{phrases: [{SECRET}]}}, effect: deny"),
    "regex": ("deny", r"match: {regex: 'sword\w+-\d+'}, effect: deny"),
    "function": ("deny", "match: {function: 'judges:find_secret'}, effect: deny"),
    "escalation": ("deny", f"match: {{phrases: [{SECRET}]}}, effect: escalate"),
    "raising": ("deny", "match: {function: 'judges:fail_on_secret'}, effect: warn"),
    "redaction": ("modify", f"match: {{phrases: [{SECRET}]}}, effect: modify, replacement: '***'"),
    "card": ("modify", "match: {personal_data: [card]}, effect: modify, replacement: '***'"),
}
ENDPOINTS = ("chat", "completions", "responses", "messages", "socket", "compact")
WORDS = ("the", "café", "kept", "one fish,", "a", "sword", "and", "77", "boats", "near Ōsaka;", "naïve", "people")


@dataclass
class Case:
    """A random request: the texts of its choices, which of them hold the denied text, and what is asked for."""

    kind: str
    endpoint: str
    denied: str
    texts: list[str]
    sizes: list[int]
    n: int = 1
    stream: bool = False
    tools: bool = False
    body: dict[str, Any] = field(default_factory=dict)
    prompt: str = "Say: "

    @property
    def is_told(self) -> bool:
        """Whether the prompt is repeated."""
        return bool(self.body.get("echo"))


def draw_case(rng: random.Random) -> Case:
    kind, endpoint = rng.choice(list(RULES)), rng.choice(ENDPOINTS)
    denied = CARD if kind == "card" else SECRET
    case = Case(kind, endpoint, denied, [], [rng.choice((1, 1, 2, 3, 7, 50)) for _ in range(rng.randint(1, 4))])
    case.n = rng.randint(1, 3) if endpoint in ("chat", "completions") else 1
    case.stream = rng.random() < 0.5 and endpoint != "compact"
    case.tools = rng.random() < 0.4 and endpoint in ("chat", "responses", "messages", "socket")
    case.texts = [draw_text(rng, denied, tools=case.tools) for _ in range(case.n)]
    case.body = draw_body(rng, case)
    return case


def draw_text(rng: random.Random, denied: str, *, tools: bool) -> str:
    words = rng.choices(WORDS, k=rng.randint(1, 6))
    if rng.random() < 0.5:
        words.insert(rng.randint(0, len(words)), denied if rng.random() < 0.7 else denied.upper())
    text = " ".join(words)
    if not tools or rng.random() < 0.3:
        return text
    escaped = rng.random() < 0.3
    arguments = json.dumps({"x": text}, ensure_ascii=escaped)
    if escaped:
        arguments = arguments.replace("s", "\\u0073").replace("4", "\\u0034")
    return rng.choice(("", "Well. ")) + tool_call(arguments)


def draw_body(rng: random.Random, case: Case) -> dict[str, Any]:
    """Draw options of a request that its endpoint takes."""
    body: dict[str, Any] = {"input": "hi"}
    if case.endpoint == "compact":
        return body
    longest = rng.choice((400, 400, 400, 20))
    if case.endpoint == "messages":
        body = {"max_tokens": longest, "messages": HELLO}
        tools: list[Any] = [{"name": "f", "input_schema": {"type": "object"}}]
    elif case.endpoint in ("responses", "socket"):
        body |= {**draw_extensions(rng), "max_output_tokens": longest}
        body |= draw(rng, 0.5, include=["message.output_text.logprobs"], top_logprobs=rng.randint(0, 3))
        tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    else:
        body = {**draw_extensions(rng), "n": case.n, "max_tokens": longest}
        body |= draw(rng, 0.2, stop=[rng.choice(("-77", " 1111", "fish"))])
        if case.stream:
            body |= draw(rng, 0.3, stream_options={"include_usage": True, "continuous_usage_stats": True})
        else:
            body |= draw(rng, 0.2, prompt_logprobs=rng.randint(0, 2))
        body |= draw_chat(rng) if case.endpoint == "chat" else draw_completion(rng, case)
        tools = [TOOL]
    body |= {"stream": case.stream} if case.endpoint != "socket" else {}
    return body | ({"tools": tools} if case.tools else {})


def draw(rng: random.Random, probability: float, **options: Any) -> dict[str, Any]:
    return options if rng.random() < probability else {}


def draw_extensions(rng: random.Random) -> dict[str, Any]:
    return {
        **draw(rng, 0.5, thermo={"record": "state"}),
        **draw(rng, 0.3, return_token_ids=True),
        **draw(rng, 0.3, store=True),
        **draw(rng, 0.2, skip_special_tokens=False),
    }


def draw_chat(rng: random.Random) -> dict[str, Any]:
    return {"messages": HELLO, **draw(rng, 0.5, logprobs=True, top_logprobs=rng.randint(0, 3))}


def draw_completion(rng: random.Random, case: Case) -> dict[str, Any]:
    """Draw a prompt, which may hold the denied text where it is repeated: else it is the client's own business."""
    echo = rng.random() < 0.5
    if echo:
        case.prompt = draw_text(rng, case.denied, tools=False) + " "
    body = {"prompt": case.prompt, "echo": echo, **draw(rng, 0.5, logprobs=rng.randint(0, 3))}
    return body | draw(rng, 0.2, max_tokens=0) | draw(rng, 0.0 if case.stream else 0.1, best_of=3)


async def send_case(server: Gated, case: Case) -> tuple[int, bytes, list[Any]]:
    """Send the request of a case; return the status, all bytes, and the JSON values in them."""
    server.engine.texts, server.engine.sizes = case.texts, case.sizes
    if case.endpoint == "socket":
        events = await talk(server.app, case.body)
        return 200, json.dumps(events, ensure_ascii=False).encode(), events
    paths = {"chat": "chat/completions", "messages": "messages", "compact": "responses/compact"}
    reply = await server.post(f"/v1/{paths.get(case.endpoint, case.endpoint)}", case.body)
    return reply.status, reply.body, reply.events if case.stream and reply.status == 200 else [reply.json]


def holds(denied: str, texts: Any) -> bool:
    return any(denied.lower() in text.lower() for text in texts)


async def run_cases(folder: Path, count: int, seed: int, *, is_gated: bool = True) -> tuple[int, int]:
    """Run random requests; return how many held a denied text, and on how many it was found."""
    rng = random.Random(seed)
    verdicts: dict[Any, Any] = {}
    num_denied = num_found = 0
    async with AsyncExitStack() as stack:
        servers = {}
        for kind, (_, rule) in RULES.items():
            (folder / kind).mkdir()
            rules = (
                f"rules:\n  - {{id: {kind}, scope: [output, tool_calls], time_limit: 60, {rule}}}\n"
                if is_gated
                else None
            )
            servers[kind] = await stack.enter_async_context(gated(folder / kind, rules, Pieces(), verdict_seconds=120))
        for number in range(count):
            case = draw_case(rng)
            server = servers[case.kind]
            status, body, values = await send_case(server, case)
            assert status == 200 or (status == 400 and case.endpoint == "compact"), (status, body, case)
            outcomes = (
                server.seen.ended_[-1:]
                + list(server.store.answers.values())[-1:]
                + server.feed.list_outcomes("local")[:1]
            )
            shown = [body.decode(), *read_texts(values), *(text for each in outcomes for text in read_outcome(each))]
            drawn = [case.prompt if case.is_told else "", *case.texts]
            num_denied += holds(case.denied, drawn + [json.loads(f'"{t}"') for t in drawn if '"' not in t])
            is_found = holds(case.denied, shown)
            num_found += is_found
            if is_gated:
                assert not is_found, (number, case, [t for t in shown if case.denied in t.lower()][:2])
                assert all(not event.text and {each.id for each in event.tokens} <= {0} for event in server.seen.grown)
                compare_verdicts(verdicts, case, server.seen.ended_[-1])
            server.seen.grown.clear()
            server.store.answers.clear()
    return num_denied, num_found


def compare_verdicts(verdicts: dict[Any, Any], case: Case, outcome: Any) -> None:
    """Check that a text gets the verdict that it got before, and the one that is due."""
    if case.endpoint == "compact" or "best_of" in case.body:
        return
    expected = RULES[case.kind][0]
    longest = case.body.get("max_tokens", case.body.get("max_output_tokens"))
    for text, finish, summary in zip(case.texts, outcome.finish_reasons, outcome.summary, strict=True):
        if "policy" not in summary:
            assert longest == 0 and not case.is_told
            continue
        policy = summary["policy"]
        key = (case.kind, text, longest, str(case.body.get("stop")), case.is_told and case.prompt, case.tools)
        given = policy["verdict"], policy["action"], tuple(policy["rules"])
        assert verdicts.setdefault(key, given) == given, case
        assert (finish == "content_filter") == (policy["action"] == "deny")
        if longest == 400 and not case.body.get("stop") and case.denied in text.lower():
            assert policy["action"] == expected, (policy, case)
        if (
            case.denied not in text.lower()
            and "\\u" not in text
            and not (case.is_told and case.denied in case.prompt.lower())
        ):
            assert policy["action"] == "allow", (policy, case)


def test_no_denied_text_leaves(tmp_path: Path) -> None:
    num_denied, num_found = asyncio.run(run_cases(tmp_path, 400, seed=1))
    assert num_denied > 150 and num_found == 0


def test_without_the_gate_denied_texts_are_found(tmp_path: Path) -> None:
    num_denied, num_found = asyncio.run(run_cases(tmp_path, 60, seed=1, is_gated=False))
    assert num_found > 0.6 * num_denied > 10


@pytest.mark.slow
def test_no_denied_text_leaves_of_ten_thousand_requests(tmp_path: Path) -> None:
    started = time.monotonic()
    num_denied, num_found = asyncio.run(run_cases(tmp_path, 10_000, seed=2))
    print(f"10,000 requests, {num_denied} with a denied text, {num_found} leaks, {time.monotonic() - started:.0f} s")
    assert num_denied > 4000 and num_found == 0
