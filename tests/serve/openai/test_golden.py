"""Answers as they are, byte for byte but for ids and times: a change of the format shows here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted
from serving import HELLO, server

GOLDEN = Path(__file__).parent / "golden"
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHAT = "/v1/chat/completions"
LEGACY = "/v1/completions"

CASES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "chat": (CHAT, ["Caf\u00e9."], {"n": 2}),
    "chat_logprobs": (CHAT, ["A"], {"logprobs": True, "top_logprobs": 2}),
    "chat_tools": (CHAT, [CALL], {"tools": [TOOL]}),
    "chat_vllm": (CHAT, ["A"], {"return_token_ids": True, "prompt_logprobs": 1, "stop_token_ids": [66]}),
    "chat_thermo": (CHAT, ["AB"], {"thermo": {"records": True}}),
    "chat_stream": (CHAT, ["\u00e9."], {"stream": True, "stream_options": {"include_usage": True}}),
    "chat_stream_logprobs": (CHAT, ["A"], {"stream": True, "logprobs": True, "top_logprobs": 1}),
    "chat_stream_tools": (CHAT, ["x" + CALL], {"stream": True, "tools": [TOOL]}),
    "chat_stream_thermo": (CHAT, ["A"], {"stream": True, "thermo": {"records": True}}),
    "completions": (LEGACY, ["A"], {"prompt": ["Hi", "!"], "echo": True, "logprobs": 1}),
    "completions_stream": (LEGACY, ["A"], {"prompt": "Hi", "echo": True, "logprobs": 1, "stream": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_as_it_was(name: str) -> None:
    path, texts, body = CASES[name]
    more = {"messages": HELLO} if path == CHAT else {}
    answer = server(Scripted(texts)).post(path, {**more, **body})
    assert answer.status_code == 200
    text = re.sub(r"[0-9a-f]{32}", "ID", answer.text)
    text = re.sub(r'"created":\d+', '"created":0', text).rstrip("\n") + "\n"
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("HEATBATH_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
