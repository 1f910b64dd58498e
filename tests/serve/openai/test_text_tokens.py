"""Log-probabilities end with the text, each token has one key, and a minimum holds against stop texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted
from serving import Server, server, started

from heatbath.engine.base import Token
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.engine.mock import ByteModelInfo, MockEngine
from heatbath.models.exact.markov import MarkovModel
from heatbath.serve.openai.logprobs import CompletionLogprobs
from heatbath.serve.openai.outputs import TokenTexts

WORDS = [b"two", b" m", b"ore", b" ", b"m", b"o", b"\xc3", b"\xa9", b"wo", b"re "]
"""Tokens that cut stop texts and characters anywhere."""


@pytest.fixture(scope="module")
def exact() -> Iterator[Server]:
    """A server with the real engine over a model whose tokens are `WORDS`, all equally likely."""
    model = MarkovModel(np.zeros((len(WORDS), len(WORDS))), symbols=WORDS)
    with started(server(LocalEngine(model, config=EngineConfig(warm_up=False)))) as made:
        yield made


def complete(made: Server, **body: Any) -> dict[str, Any]:
    answer = made.complete([0], **{"max_tokens": 12, "logprobs": 1, **body})
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def stream(made: Server, **body: Any) -> dict[str, Any]:
    """The choice that the chunks of a stream add up to."""
    answer = made.complete([0], **{"max_tokens": 12, "logprobs": 1, "stream": True, **body})
    total: dict[str, Any] = {"text": "", "logprobs": {}, "prompt": [], "ids": []}
    for line in answer.text.splitlines():
        if not line.startswith("data: {"):
            continue
        (choice,) = json.loads(line[6:])["choices"]
        total["text"] += choice["text"]
        total["prompt"].append(choice.get("prompt_token_ids"))
        total["ids"] += choice.get("token_ids", [])
        for name, values in (choice["logprobs"] or {}).items():
            total["logprobs"].setdefault(name, []).extend(values)
    return total


STOPS = st.sampled_from(["two m", "o m", " mo", "re", "é", "m o", "oo"])


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.lists(STOPS, min_size=1, max_size=2), st.booleans(), st.integers(0, 6))
def test_arrays_end_with_the_text(exact: Server, seed: int, stop: list[str], keep: bool, least: int) -> None:
    body = {"seed": seed, "stop": stop, "include_stop_str_in_output": keep, "min_tokens": least}
    whole = complete(exact, **body, return_tokens_as_token_ids=True)
    arrays, text = whole["logprobs"], whole["text"]
    assert len({len(each) for each in arrays.values()}) == 1
    ids = [int(token.removeprefix("token_id:")) for token in arrays["tokens"]]
    spelled = b"".join(WORDS[token] for token in ids).decode(errors="replace")
    assert spelled.startswith(text) and all(offset < len(text) for offset in arrays["text_offset"])
    # The token in which the text is cut off is its last one: without it the text is not complete.
    if ids:
        assert len(b"".join(WORDS[token] for token in ids[:-1]).decode(errors="ignore")) < len(text)
    if whole["finish_reason"] == "length":
        assert (len(ids), whole["stop_reason"]) == (12, None)
    else:
        assert whole["stop_reason"] in stop
        ended = complete(exact, **body, return_token_ids=True)
        assert len(ended["token_ids"]) == len(ended["logprobs"]["tokens"]) >= least
    streamed = stream(exact, **body, return_tokens_as_token_ids=True)
    assert (streamed["text"], streamed["logprobs"] or {name: [] for name in arrays}) == (text, arrays)


def test_a_minimum_holds_against_stop_texts(exact: Server) -> None:
    """Of "twotwotwo…" the stop "wot" is complete at the second token first."""
    body = {"allowed_token_ids": [0], "stop": ["wot"], "return_token_ids": True}
    for least, tokens in ((0, 2), (2, 2), (3, 3), (10, 10)):
        choice = complete(exact, **body, min_tokens=least)
        assert len(choice["token_ids"]) == tokens
        assert choice["text"] == ("two" * tokens)[: 3 * (tokens - 1) - 2]


def test_why_a_choice_ended(exact: Server) -> None:
    assert complete(exact, allowed_token_ids=[0], stop="wot")["stop_reason"] == "wot"
    assert complete(exact, allowed_token_ids=[0], stop_token_ids=[0])["stop_reason"] == 0
    assert "stop_reason" not in complete(exact, allowed_token_ids=[0])
    ended = server(Scripted(["A"])).complete("x", stop="q").json()["choices"][0]
    assert (ended["finish_reason"], ended["stop_reason"]) == ("stop", None)


def test_the_ids_of_the_prompt_come_first_in_a_stream(exact: Server) -> None:
    found = stream(exact, allowed_token_ids=[0], max_tokens=2, return_token_ids=True)
    assert found["prompt"] == [[0], None, None, None] and found["ids"] == [0, 0]
    answer = server(MockEngine()).chat(max_tokens=2, n=2, stream=True, return_token_ids=True)
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert chunks[0]["prompt_token_ids"] == list(b"user: hi\n")
    assert not any("prompt_token_ids" in chunk for chunk in chunks[1:])


class Ambiguous(ByteModelInfo):
    """A model with a second token for the letter A, 200."""

    def token_bytes(self, token: int) -> bytes:
        return b"A" if token == 200 else super().token_bytes(token)


@pytest.mark.parametrize("own", [0x80, 0x81, 65, 200])
def test_each_token_has_one_key_with_its_own_value(own: int) -> None:
    """128 and 129 are both no characters, 65 and 200 have one text; the number of alternatives changes no value."""
    ranked = [(0x81, -0.5), (65, -1.0), (0x80, -2.0), (200, -3.0), (66, -4.0)]
    token = Token(own, dict(ranked)[own], ranked)
    found: dict[str, float] = {}
    for top in range(6):
        arrays = CompletionLogprobs(TokenTexts(Ambiguous()), top).append([token])
        (keys,), (name,) = arrays.top_logprobs, arrays.tokens
        assert keys is not None and keys[name] == dict(ranked)[own] and len(keys) in (top, top + 1)
        assert found.items() <= keys.items()
        found = keys
    assert {"bytes:\\x80", "bytes:\\x81", "A", "B"} <= set(found)
    assert ("token_id:65" in found, "token_id:200" in found) == (own == 200, own != 200)
