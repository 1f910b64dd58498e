"""Seeded outputs of every sampler on the exact models, through `generate` and the local engine, stay as they are.

`golden_samples.json` holds what the samplers gave when it was made. Run this file as a script to write it anew:
`python tests/engine/test_golden_samples.py`; a change of a stream of random numbers must be on purpose.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heatbath as hb
from heatbath.decode import schedules, windows
from heatbath.energy import (
    ForbiddenTokens,
    GumbelNoise,
    LogitBias,
    MinLength,
    RepetitionPenalty,
    after_tokens,
    apply_when,
)
from heatbath.energy.potentials import FunctionPotential, Length, TruncationPenalty
from heatbath.engine import GenerationSettings, Run
from heatbath.engine.base import ComponentSpec, Finished, Request, Started, TokensGenerated
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.errors import HeatbathError
from heatbath.experts import Contrast
from heatbath.models import MarkovModel, TableModel, UrnModel, Vocabulary

GOLDEN = Path(__file__).with_name("golden_samples.json")
SAMPLERS: dict[str, list[dict[str, Any]]] = {
    "ancestral": [{}],
    "greedy": [{}],
    "beam": [{"width": 4}, {"width": 4, "groups": 2, "diversity": 0.3}, {"width": 3, "length_penalty": 0.7}],
    "best-of": [{"n": 5}, {"n": 3, "by": "logprob"}],
    "vote": [{"n": 6}],
    "smc": [{"particles": 6, "replicates": 2}, {"particles": 5, "resampling": "multinomial", "threshold": 0.9}],
    "power": [
        {"particles": 6, "replicates": 2, "ladder": 3},
        {"method": "metropolis", "chains": 3, "sweeps": 4},
        {"method": "metropolis", "chains": 3, "sweeps": 3, "block": 3},
        {"method": "lookahead", "n": 2, "candidates": 3, "rollouts": 2, "horizon": 3, "block": 2},
        {"method": "lookahead", "n": 3, "candidates": 2, "rollouts": 1, "horizon": 2, "block": 3, "jackknife": False},
    ],
    "anneal": [{"particles": 6, "ladder": 3, "threshold": 0.8}, {"particles": 4, "ladder": [0, 0.5, 1], "sweeps": 2}],
    "tempering": [
        {"chains": 2, "ladder": 3, "sweeps": 6},
        {"chains": 3, "ladder": [0, 0.3, 1], "sweeps": 4, "burn": 0},
    ],
}
BY_TOKEN = ("ancestral", "greedy")
WEIGHING = ("best-of", "smc", "power", "anneal", "tempering")
TREE = TableModel.random(0, 4, 7, stop_token_ids=(3,), scale=1.5)
URN = UrnModel()


def chain() -> MarkovModel:
    model = MarkovModel(np.random.default_rng(5).normal(size=(6, 6)))
    model.vocabulary = Vocabulary(6, stop_token_ids=(5,))
    return model


CHAIN = chain()


def many_as(text: str) -> float:
    return 0.4 * text.count("a")


def fields(model: Any, dice: random.Random) -> list[Any]:
    """Fields that a run may have, one list of them."""
    return dice.choice(
        [
            [],
            [LogitBias({1: 0.8})],
            [RepetitionPenalty(1.3), ForbiddenTokens([2])],
            [GumbelNoise(0.7, 1), MinLength(3)],
            [0.5 * LogitBias({0: 1.0}) + apply_when(after_tokens(2), LogitBias({1: -1.0}))],
            [Contrast(model, [1], gamma=0.5)],
        ]
    )


def temperatures(sampler: str, rows: int, dice: random.Random) -> Any:
    if sampler == "greedy":
        return 1.0
    if sampler not in ("ancestral", "best-of", "vote"):
        return dice.choice([0.6, 1.0, 1.4])
    ticks = count()
    several = [0.5, np.linspace(0.0, 1.6, rows)] if sampler == "ancestral" else [0.5]
    return dice.choice(
        [
            *several,
            1.0,
            1.7,
            schedules.linear(2.0, 0.3, 5),
            schedules.mirostat(1.0),
            schedules.thermostat("entropy", 0.7),
            schedules.latency_budget(1.2, (0.05, 0.0), clock=lambda: 0.1 * next(ticks)),
        ]
    )


def direct(sampler: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """A call of `generate` with settings drawn from `seed`."""
    dice = random.Random(f"{sampler} {options} {seed}")
    model = dice.choice([TREE, CHAIN, CHAIN, URN])
    several = sampler in BY_TOKEN and dice.random() < 0.5
    prompts = [[], [1], [2, 0]] if several else [dice.choice([[], [1], [0, 2]])]
    if model is URN:
        prompts = [[]] * len(prompts)
    n = dice.randint(1, 4) if sampler in BY_TOKEN else None
    settings: dict[str, Any] = {
        "temperature": temperatures(sampler, len(prompts) * (n or 1), dice),
        "max_tokens": dice.randint(3, 5) if model is not CHAIN else dice.randint(3, 9),
        "seed": seed,
        "first_row": dice.choice([0, 0, 5]),
        "record": dice.choice(["full", "state", "nodes", None]),
        "fields": fields(model, dice),
    }
    if sampler != "greedy":
        chosen = [None, windows.top_p(0.8), windows.top_k(3), [windows.min_p(0.1), windows.top_k(4)]]
        settings["window"] = dice.choice([*chosen, windows.exclude_top_choices(0.1, 0.5)])
    if sampler in WEIGHING:
        potentials = [
            [],
            [Length(3, 1.0)],
            [0.5 * TruncationPenalty(2.0), FunctionPotential(many_as, "as", decode=model.decode)],
        ]
        settings["potentials"] = dice.choice(potentials)
    if model is CHAIN and dice.random() < 0.3:
        settings |= {"stop_token_ids": dice.choice([(), (1, 5)]), "ignore_eos": True}
    if dice.random() < 0.3:
        settings["edges"] = {"edge": 0.9}
    return {"model": model, "prompt": prompts, "n": n, "sampler": sampler, **settings, **options}


def number(value: Any) -> float | None:
    """A float that JSON can say: None for NaN, and infinities as large numbers."""
    value = float(value)
    return None if np.isnan(value) else float(np.clip(value, -1e300, 1e300))


def checksum(column: Any) -> list[float | None]:
    """Sums that tell columns apart."""
    values = np.nan_to_num(np.asarray(column, np.float64), nan=0.37, posinf=1e3, neginf=-1e3).ravel()
    return [number(values.sum()), number((values * np.cos(np.arange(len(values)))).sum())]


def summary(found: Any) -> dict[str, Any]:
    """All a `Generation` says."""
    record = found.arrays.record
    # The golden file has the sampler's own figure where it keeps one: of the greedy sampler and best-of it is at T = 1.
    own = found.weighted_samples.logprob
    logprob = found.logprob_at_temperature if own is None else own
    return {
        "sequences": found.sequences,
        "finish": list(found.finish_reasons),
        "value": int(found.best_index),
        "log_weight": [number(sample.log_weight) for sample in found.samples],
        "logprob": list(map(number, logprob)),
        "log_z": None if found.log_z is None else [number(found.log_z), number(found.log_z_stderr)],
        "ess": number(found.ess),
        "tokens_spent": int(found.tokens_spent),
        "diagnostics": {name: number(value) for name, value in found.diagnostics.items()},
        "betas": checksum(found.arrays.betas),
        "record": {name: checksum(record[name]) for name in sorted(record)} if record is not None else None,
        "work": {name: checksum(values) for name, values in sorted(found.work.items())},
        "texts": found.texts,
    }


def generated(**call: Any) -> dict[str, Any]:
    """`generate`, and what a `Run` has when it is interrupted half way."""
    model, prompt, n = call.pop("model"), call.pop("prompt"), call.pop("n")
    return summary(hb.generate(model, prompt, n=n, **call))


def interrupted() -> dict[str, Any]:
    """A run that is stopped after two tokens of each row."""
    run = Run(CHAIN, [[0], [1]], GenerationSettings(max_tokens=9, seed=3, ignore_eos=True, record="state"))
    frames = iter(run)
    for _ in range(2):
        next(frames)
    return summary(run.result())


def requests(number_of: int, seed: int) -> list[Request]:
    """Requests of every kind."""
    dice = random.Random(seed)
    cuts = [
        (),
        (ComponentSpec("top_p", 0.8),),
        (ComponentSpec("top_k", 3),),
        (ComponentSpec("min_p", 0.1), ComponentSpec("top_k", 4)),
    ]
    cuts += [(ComponentSpec("exclude_top_choices", {"threshold": 0.1, "probability": 0.5}),)]
    added = [
        (),
        (),
        (ComponentSpec("bias", {"1": 1.5}),),
        (ComponentSpec("repetition", 1.3), ComponentSpec("forbid_tokens", [2])),
    ]
    added += [
        (ComponentSpec("gumbel_noise", 1.0),),
        (ComponentSpec("min_length", 3),),
        (ComponentSpec("contrast", {"other": "b"}),),
    ]
    laws = [None, None, ComponentSpec("linear", {"start": 2.0, "end": 0.2}), ComponentSpec("mirostat", 1.0)]
    weights = [
        (),
        (),
        (ComponentSpec("length", {"target": 3}),),
        (ComponentSpec("finished", 2.0), ComponentSpec("regex", {"pattern": "a*b.*", "weight": 2.0})),
    ]
    out = []
    for at in range(number_of):
        sampler = dice.choice([*SAMPLERS, *["ancestral"] * 8, "greedy"])
        by_token, greedy = sampler in BY_TOKEN, sampler == "greedy"
        out.append(
            Request(
                prompt=tuple(dice.randrange(5) for _ in range(dice.randint(0, 4))),
                id=str(at),
                n=dice.randint(1, 4) if by_token else 1,
                max_tokens=dice.choice([0, 1, 3, 8, 20]) if by_token else dice.randint(2, 6),
                temperature=dice.choice([0.0, 0.5, 1.0, 1.7]) if sampler == "ancestral" else dice.choice([0.6, 1.0]),
                schedule=dice.choice(laws) if sampler in ("ancestral", "best-of", "vote") else None,
                windows=() if greedy else dice.choice(cuts),
                fields=dice.choice(added),
                potentials=dice.choice(weights) if sampler in WEIGHING else (),
                sampler=sampler,
                options=dict(dice.choice(SAMPLERS[sampler])),
                seed=dice.randrange(1000),
                record=dice.choice([None, "state", "full"]),
                top_logprobs=dice.choice([0, 0, 2]),
                stop=dice.choice([(), (), ("ab", "ca"), ("d",)]),
                keep_stop=dice.random() < 0.5,
                ignore_eos=dice.random() < 0.3,
                score_prompt=dice.random() < 0.3,
                tenant=dice.choice("abc"),
            )
        )
    return out


def told(tokens: Any) -> list[Any]:
    """Tokens with all that is said of them."""
    return [
        [
            token.id,
            None if token.logprob is None else number(token.logprob),
            [[other, number(logprob)] for other, logprob in token.top_logprobs],
            None if token.record is None else {key: checksum(token.record[key]) for key in sorted(token.record)},
        ]
        for token in tokens
    ]


async def answered(engine: LocalEngine, request: Request) -> dict[str, Any]:
    choices: dict[int, dict[str, Any]] = {}
    out: dict[str, Any] = {"choices": choices}
    async for step in engine.submit(request):
        if isinstance(step, Started):
            out |= {"seed": step.seed, "cached": step.cached_tokens, "prompt": told(step.scored_prompt)}
        elif isinstance(step, TokensGenerated):
            choice = choices.setdefault(step.choice, {"tokens": [], "text": ""})
            choice["tokens"] += told(step.tokens)
            choice["text"] += step.text
            choice |= {"finish": step.finish_reason, "stopped": step.stop_reason}
        else:
            assert isinstance(step, Finished)
            out |= {
                "value": step.best_index,
                "tokens_spent": step.tokens_spent,
                "log_weights": list(map(number, step.log_weights)),
                "log_z": None if step.log_z is None else [number(step.log_z), number(step.log_z_stderr)],
                "ess": None if step.ess is None else number(step.ess),
                "diagnostics": {name: number(value) for name, value in step.diagnostics.items()},
                "repeatable": [step.deterministic, step.nondeterminism_reason],
            }
    out["choices"] = [choices[at] for at in sorted(choices)]
    return out


async def outcome(engine: LocalEngine, request: Request) -> dict[str, Any]:
    try:
        return await answered(engine, request)
    except HeatbathError as error:
        return {"refused": type(error).__name__}


def together(asked: list[Request]) -> list[dict[str, Any]]:
    """All requests at once, through one engine."""

    async def ask() -> list[dict[str, Any]]:
        engine = LocalEngine(CHAIN, config=EngineConfig(warm_up=False, max_waiting=len(asked) + 1))
        await engine.start()
        try:
            return list(await asyncio.gather(*(outcome(engine, request) for request in asked)))
        finally:
            await engine.close()

    return asyncio.run(ask())


def cases(seeds: int = 1, waves: int = 1, at_once: int = 24) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names and what gives their outputs."""
    for sampler, every in SAMPLERS.items():
        for at, options in enumerate(every):
            repeats = 4 * seeds if sampler in BY_TOKEN else seeds
            for seed in range(repeats):
                call = (sampler, options, seed)
                yield f"generate/{sampler}/{at}/{seed}", lambda call=call: generated(**direct(*call))  # type: ignore[misc]
    yield "generate/interrupted", interrupted
    for wave in range(waves):
        yield f"engine/{wave}", lambda wave=wave: together(requests(at_once, wave))  # type: ignore[misc]


def outputs(**extent: int) -> dict[str, Any]:
    """Everything, as it is after a way through JSON. Of what is refused the kind of error."""
    found: dict[str, Any] = {}
    for name, give in cases(**extent):
        try:
            found[name] = give()
        except HeatbathError as error:
            found[name] = {"refused": type(error).__name__}
    return dict(json.loads(json.dumps(found)))


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Places where two outputs differ, floats by more than 1e-9."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), f"{path}/{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{path}/{at}")
    elif isinstance(old, float) and isinstance(new, float | int):
        if abs(old - new) > 1e-9 * max(1.0, abs(old)):
            yield f"{path}: {old} became {new}"
    elif old != new:
        yield f"{path}: {old!r:.200} became {new!r:.200}"


@cache
def present() -> dict[str, Any]:
    return outputs()


@pytest.mark.parametrize("part", ["generate", "engine"])
def test_seeded_outputs_are_those_of_the_golden_file(part: str) -> None:
    golden, now = json.loads(GOLDEN.read_text(encoding="utf-8")), present()
    assert sorted(golden) == sorted(now)
    assert [
        difference
        for name, old in golden.items()
        if name.startswith(part)
        for difference in differences(old, now[name], name)
    ] == []


def test_the_comparison_sees_a_difference() -> None:
    assert list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-6, 2]})) == ["/a/0: 1.0 became 1.000001"]
    assert list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-12, 2]})) == []


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(outputs(), separators=(",", ":")) + "\n", encoding="utf-8")
