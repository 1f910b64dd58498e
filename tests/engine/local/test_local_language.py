"""The engine on the default model: many at once, a schema, stops, log-probabilities, prefixes."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from asking import answers

from heatbath.engine import generate, measure
from heatbath.engine.base import ComponentSpec, Request
from heatbath.engine.local import EngineConfig

pytestmark = pytest.mark.weights
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["red", "blue"]}, "size": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["name", "size"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def prompt(smollm2: Any) -> tuple[int, ...]:
    return tuple(smollm2.encode_chat([{"role": "user", "content": "Name two colors, separated by a comma."}]))


def test_eight_at_once(smollm2: Any, prompt: tuple[int, ...]) -> None:
    requests = [Request(prompt, str(i), max_tokens=4 + i, seed=i, temperature=0.8, top_logprobs=3) for i in range(6)]
    requests.append(Request(prompt, "schema", max_tokens=48, seed=1, fields=(ComponentSpec("json_schema", SCHEMA),)))
    requests.append(Request(prompt, "beam", max_tokens=6, sampler="beam", options={"width": 2}))
    *plain, schema, beam = answers(smollm2, requests, EngineConfig(max_rows=16))
    for answered in plain:
        trace = measure(smollm2, [*prompt, *answered.ids()])
        expected = trace.logprob(1.0)[len(prompt) :]
        assert [token.logprob for token in answered.tokens()] == pytest.approx(expected.tolist(), abs=2e-3)
        for token, logprob in zip(answered.tokens(), expected, strict=True):
            assert dict(token.top_logprobs).get(token.id, logprob) == pytest.approx(logprob, abs=2e-3)
            assert len(token.top_logprobs) == 3 and token.record is not None and token.record["temperature"] == 0.8
        spoken = answered.ids()[:-1] if answered.finish() == "stop" else answered.ids()
        assert answered.text() == smollm2.decode(spoken)
    assert max(answered.began.cached_tokens for answered in plain) > 0
    value = json.loads(schema.text())
    assert set(value) == {"name", "size"} and schema.finish() == "stop"
    whole = generate(smollm2, prompt, sampler="beam", width=2, max_tokens=6)
    assert beam.sequences == whole.sequences


def test_white_space_in_json_is_bounded(smollm2: Any) -> None:
    """Greedy and at T = 1, where a schema without a bound gave runs of up to 87 line ends."""
    properties = {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150}}
    schema = {"type": "object", "properties": properties, "required": ["name", "age"], "additionalProperties": False}
    field, requests = ComponentSpec("json_schema", schema), []
    for i, ask in enumerate(("Tell a story", "Write five empty lines")):
        prompt = tuple(smollm2.encode_chat([{"role": "user", "content": ask}]))
        for seed, temperature in ((0, 0.0), (1, 1.0)):
            request = Request(prompt, f"{i}/{seed}", max_tokens=40, seed=seed, temperature=temperature, fields=(field,))
            requests.append(request)
    for answered in answers(smollm2, requests, EngineConfig(max_rows=16)):
        text = answered.text()
        outside = re.sub(r'"(?:[^"\\]|\\.)*("|$)', '""', text)
        assert all(re.fullmatch(r" |\n[ \t]{0,12}", run) for run in re.findall(r"\s+", outside)), text
        assert answered.finish() == "stop" and set(json.loads(text)) == {"name", "age"}


def test_stops_and_prompt_scores(smollm2: Any, prompt: tuple[int, ...]) -> None:
    stopping = Request(prompt, "stop", max_tokens=24, sampler="greedy", stop=(",", "\n"))
    scoring = Request(prompt, "score", max_tokens=0, score_prompt=True, top_logprobs=1, record="full")
    stopped, scored = answers(smollm2, [stopping, scoring])
    plain = generate(smollm2, prompt, max_tokens=24, sampler="greedy").text
    assert stopped.text() == plain.replace("\n", ",").split(",")[0]
    trace = measure(smollm2, prompt)
    found = [token.logprob for token in scored.began.scored_prompt[1:]]
    assert found == pytest.approx(trace.logprob(1.0)[1:].tolist(), abs=1e-5)
    record = scored.began.scored_prompt[5].record
    assert record is not None
    np.testing.assert_allclose(record["nodes/log_z"], trace.record["nodes/log_z"][5], rtol=1e-5)


def test_tenants_do_not_share_prefixes(smollm2: Any, prompt: tuple[int, ...]) -> None:
    import asyncio

    from asking import asked, running

    async def ask() -> list[int]:
        async with running(smollm2) as engine:
            tenants = ("a", "a", "b")
            return [
                (await asked(engine, Request(prompt, str(i), tenant=tenant, max_tokens=1))).began.cached_tokens
                for i, tenant in enumerate(tenants)
            ]

    first, again, other = asyncio.run(ask())
    assert first == 0 and again > len(prompt) // 2 and other == 0
