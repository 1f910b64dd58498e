"""The cost of a policy of 100 rules with 10,000 phrases, at 16 streams of the local engine.

Without and with the policy in turn, on one engine. A text is judged when it is complete, in a thread, as the server
does. A second policy of the same size forbids a tenth of its phrases, so that its energies act on every token.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, lower_limit_line, upper_limit_line
from heatbath.engine import LocalEngine, Request, TokensGenerated
from heatbath.models import load
from heatbath.policy import Policy, load_policy

MODEL = "smollm2-135m"
STREAMS, LENGTH, ROUNDS = 16, 64, 7
PHRASE_RULES, PHRASES_EACH, FORBIDDING_RULES = 80, 125, 8
PATTERNS = (
    "AKIA[0-9A-Z]{16}",
    "gh[pousr]_[0-9A-Za-z]{36}",
    r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    r"password\s*[:=]\s*\S+",
)
PROMPTS = ("The river", "A long letter about", "In the morning the engineers", "Once upon a time")
_SYLLABLES = ("ba", "ke", "lor", "min", "tas", "ul", "ven", "dri", "po", "sha", "qui", "zel", "rem", "on", "gif", "ta")


def lines() -> Iterator[BenchmarkLine]:
    """Measure throughput with and without a policy, and the time from the last token to the verdict."""
    model = load(MODEL, dtype="bfloat16")
    for name, forbidding in (("judging", 0), ("judging, 1,000 phrases forbidden", FORBIDDING_RULES)):
        policy = build_policy(forbidding)
        with asyncio.Runner() as runner:
            plain, judged, delays = runner.run(compare(LocalEngine(model), policy, _encode_prompts(model)))
        title = f"{STREAMS} streams, 100 rules with 10,000 phrases, {name}"
        yield lower_limit_line(title, judged, plain, limit=0.97, unit="token/s")
        yield upper_limit_line(
            f"verdict after the last token, {name}, p95", float(np.quantile(delays, 0.95)), limit=0.005, unit="s"
        )


def build_policy(forbidding: int, *, seed: int = 0) -> Policy:
    """Build a policy of 100 rules with 10,000 phrases, of which `forbidding` rules forbid theirs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_text(write_rules(forbidding, random.Random(seed)), encoding="utf-8")
        return load_policy(path)


def write_rules(forbidding: int, rng: random.Random) -> str:
    """Write the rules as YAML: phrases of two invented words, patterns, and personal data."""
    rules = ["rules:"]
    for number in range(PHRASE_RULES):
        phrases = ", ".join(f"{_invent_word(rng)} {_invent_word(rng)}" for _ in range(PHRASES_EACH))
        effect = "forbid" if number < forbidding else ("deny", "warn", "escalate", "modify")[number % 4]
        rules.append(f"  - {{id: phrases-{number}, effect: {effect}, match: {{phrases: [{phrases}]}}}}")
    for number in range(16):
        pattern = PATTERNS[number % len(PATTERNS)]
        rules.append(f"  - {{id: pattern-{number}, effect: deny, match: {{regex: '{pattern}'}}}}")
    for kind in ("email", "card", "iban", "ip"):
        rules.append(f"  - {{id: {kind}, effect: modify, match: {{personal_data: {kind}}}}}")
    return "\n".join(rules) + "\n"


def _invent_word(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=3))


def _encode_prompts(model: object) -> list[tuple[int, ...]]:
    return [tuple(model.encode(text)) for text in PROMPTS]  # type: ignore[attr-defined]


async def compare(
    engine: LocalEngine, policy: Policy, prompts: list[tuple[int, ...]]
) -> tuple[float, float, list[float]]:
    """Return tokens per second without and with the policy, medians of rounds in turn, and the delays of verdicts."""
    await engine.start()
    try:
        speeds: dict[bool, list[float]] = {False: [], True: []}
        delays: list[float] = []
        for number in range(ROUNDS + 1):
            for with_policy in (False, True):
                speed, found = await _run_streams(engine, policy if with_policy else None, prompts)
                if number:  # the first round warms up, and builds the fields
                    speeds[with_policy].append(speed)
                    delays += found
        return statistics.median(speeds[False]), statistics.median(speeds[True]), delays
    finally:
        await engine.close()


async def _run_streams(
    engine: LocalEngine, policy: Policy | None, prompts: list[tuple[int, ...]]
) -> tuple[float, list[float]]:
    """Run all streams at once; return their tokens per second, and the seconds of each from last token to verdict."""
    start = time.perf_counter()
    delays = await asyncio.gather(
        *(_run_stream(engine, policy, prompts[number % len(prompts)], number) for number in range(STREAMS))
    )
    seconds = time.perf_counter() - start
    return STREAMS * LENGTH / seconds, [delay for delay in delays if delay is not None]


async def _run_stream(engine: LocalEngine, policy: Policy | None, prompt: tuple[int, ...], number: int) -> float | None:
    request = Request(
        prompt,
        f"stream-{number}",
        max_tokens=LENGTH,
        ignore_eos=True,
        seed=number,
        fields=() if policy is None else policy.fields,
    )
    text = ""
    async for event in engine.submit(request):
        if isinstance(event, TokensGenerated):
            text += event.text
    if policy is None:
        return None
    done = time.perf_counter()
    await asyncio.to_thread(policy.judge, text, scope="output")
    return time.perf_counter() - done
