"""Every number that a request may give has a bound, and what a sampler may draw is known before anything is made."""

from __future__ import annotations

import inspect
import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from asking import asked, running, within

from heatbath.energy.spec import Range, Spec
from heatbath.engine.base import ComponentSpec, Request
from heatbath.engine.local import EngineConfig
from heatbath.engine.local.request_compiler import RequestCompiler, predict_tokens
from heatbath.engine.registry import FIELDS, POTENTIALS, SAMPLERS, SCHEDULES, WINDOWS, Registry
from heatbath.engine.registry.option_types import validate_request_value
from heatbath.errors import BadInput, HeatbathError
from heatbath.models.exact.markov import MarkovModel

MODEL = MarkovModel(np.random.default_rng(0).normal(size=(12, 12)), symbols=[bytes([97 + i]) for i in range(12)])
COMPILE = RequestCompiler(MODEL, EngineConfig(warm_up=False))
EXTREMES: list[Any] = [
    *(1_000_000_000, 10**8, 2**70, -1, 0, 1, 2, 1.5, 0.5, -0.0, 1e-320, 1e9, 1e308, math.nan, math.inf, -math.inf),
    *("x", "1", None, True, [], {}, [1e9], ["x"], [[0, 1e9]]),
]
LOADS_A_MODEL = {"similarity", "safety", "sentiment"}
REGISTRIES: dict[str, Registry[Any]] = {
    "fields": FIELDS, "windows": WINDOWS, "potentials": POTENTIALS, "schedule": SCHEDULES,
}  # fmt: skip


def plain(**more: Any) -> Request:
    return Request((1,), "x", max_tokens=4, seed=1, **more)


def sampler_requests() -> Iterator[Request]:
    """Every option of every sampler with every extreme value."""
    for name, spec in SAMPLERS.offered_specs.items():
        methods: list[dict[str, Any]] = [{}]
        if name == "power":
            methods += [{"method": "metropolis"}, {"method": "lookahead"}]
        for method in methods:
            for option in spec.options:
                yield from (plain(sampler=name, options={**method, option: value}) for value in EXTREMES)


def component_requests() -> Iterator[Request]:
    """Every component with every extreme value, whole and as each of its settings."""
    for kind, registry in REGISTRIES.items():
        for name, spec in registry.offered_specs.items():
            if name in LOADS_A_MODEL:
                continue
            settings = settings_of(spec)
            values = [*EXTREMES, *({**example_of(spec), each: value} for each in settings for value in EXTREMES)]
            for value in values:
                component = ComponentSpec(name, value)
                sampler = {"sampler": "smc", "options": {"particles": 2}} if kind == "potentials" else {}
                yield plain(**{kind: component if kind == "schedule" else (component,)}, **sampler)


def settings_of(spec: Spec[Any]) -> list[str]:
    parameters = list(inspect.signature(spec.build).parameters.values())[int(spec.takes_context) :]
    named = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
    return named + (["weight", "after", "until"] if spec.kind == "field" else [])


def example_of(spec: Spec[Any]) -> Mapping[str, Any]:
    """The example of a spec as an object."""
    try:
        value = json.loads(spec.example.split(" or ")[0])
    except ValueError:
        value = spec.example
    return value if isinstance(value, dict) else dict.fromkeys(settings_of(spec)[:1], value)


def compile_quickly(request: Request) -> str | None:
    """Why a request is refused, None for an accepted one, which must be cheap."""
    start = time.perf_counter()
    try:
        compiled = COMPILE(request)
    except HeatbathError as error:
        assert isinstance(error, BadInput) and error.param is not None, repr(error)
        return str(error)
    finally:
        assert time.perf_counter() - start < 5, request
    assert compiled.rows <= 64 and predict_tokens(compiled.sampler, request, compiled.rows) <= 1 << 20
    return None


def test_every_option_of_a_sampler_is_refused_or_cheap_and_runs() -> None:
    accepted: dict[tuple[str, ...], Request] = {}
    for request in sampler_requests():
        # The langevin sampler needs gradients, which this model lacks. Of each option the last value is run.
        if compile_quickly(request) is None and request.sampler != "langevin":
            accepted[request.sampler, *request.options, str(request.options.get("method"))] = request
    assert len(accepted) > 30

    async def run_all() -> None:
        async with running(MODEL) as engine:
            for request in accepted.values():
                assert (await asked(engine, request)).ended.tokens_spent < 1 << 20

    within(120, run_all)


def test_every_setting_of_a_component_is_refused_or_cheap() -> None:
    outcomes = [compile_quickly(request) for request in component_requests()]
    assert sum(outcome is None for outcome in outcomes) > 100


def test_numbers_of_samplers_have_a_declared_range() -> None:
    """An option without a range may be no number at all."""
    for name, spec in SAMPLERS.offered_specs.items():
        others = set(spec.options) - set(spec.ranges)
        assert others <= {"proposal", "method", "resampling", "jackknife", "by", "key"}, name
        assert set(spec.ranges) <= set(spec.options), name


@pytest.mark.parametrize(
    ("sampler", "options", "said"),
    [
        ("smc", {"particles": 1.5},
         "the smc sampler cannot take particles=1.5: give a whole number from 1 to 4096."),
        ("anneal", {"ladder": 10**8},
         "the anneal sampler cannot take ladder=100000000: give a whole number from 1 to 1024 or a list of numbers."),
        ("tempering", {"ladder": [0.0] * 2000},
         "the tempering sampler cannot take ladder=[0.0, 0.0, 0.0"),
        ("power", {"method": "metropolis", "sweeps": 10**9},
         "the power sampler cannot take sweeps=1000000000: give a whole number from 1 to 65536."),
        ("smc", {"particles": 64}, "the request needs 256 rows at once and there are 64: lower particles."),
    ],
)  # fmt: skip
def test_the_message_has_the_bound(sampler: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        COMPILE(plain(sampler=sampler, options=options))
    assert str(refused.value).startswith(said) and refused.value.param in options


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("anneal", {"ladder": 1024, "sweeps": 60}),
        ("tempering", {"chains": 8, "ladder": 4, "sweeps": 20_000}),
        ("power", {"method": "metropolis", "chains": 64, "sweeps": 65_536}),
        ("power", {"method": "metropolis", "block": 1, "sweeps": 2000}),
        ("power", {"method": "lookahead", "block": 1, "horizon": 10_000, "n": 4}),
        ("langevin", {"sweeps": 65_536}),
    ],
)
def test_costs_are_predicted_before_anything_is_made(sampler: str, options: dict[str, Any]) -> None:
    request = Request((1,), "x", max_tokens=400, sampler=sampler, options=options)
    with pytest.raises(BadInput, match="may draw [0-9]+ tokens with these options and a request at most 1048576"):
        COMPILE(request)


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("anneal", {"particles": 4, "ladder": 3, "sweeps": 2}),
        ("tempering", {"chains": 2, "ladder": 2, "sweeps": 3}),
        ("power", {"method": "metropolis", "chains": 2, "sweeps": 3, "block": 2}),
        ("power", {"method": "lookahead", "n": 2, "candidates": 2, "rollouts": 2, "horizon": 2, "block": 2}),
        ("smc", {"particles": 3, "replicates": 2}),
        ("best-of", {"n": 3}),
        ("beam", {"width": 3}),
    ],
)
def test_no_run_draws_more_than_was_predicted(sampler: str, options: dict[str, Any]) -> None:
    request = Request((1,), "x", max_tokens=6, seed=1, sampler=sampler, options=options)
    compiled = COMPILE(request)

    async def run() -> int:
        async with running(MODEL) as engine:
            return (await asked(engine, request)).ended.tokens_spent

    assert 0 < within(60, run) <= predict_tokens(compiled.sampler, request, compiled.rows)


def test_a_request_has_few_components() -> None:
    with pytest.raises(BadInput, match="takes at most 64 components, got 65"):
        COMPILE(plain(windows=[ComponentSpec("top_k", 3)] * 65))


def _sample_component(
    count: int, share: float | None = None, *, pairs: Mapping[str, float] | None = None, name: str = ""
) -> None:
    """A build function whose annotations are checked."""


SAMPLE = Spec(
    "sample", "window", _sample_component, takes_context=False, ranges={"share": Range(0.0, 1.0, or_none=True)}
)


@pytest.mark.parametrize("value", [1, {"count": 1, "share": None}, {"count": 1, "share": 1, "pairs": {"a": 2}}])
def test_values_of_the_declared_types_are_taken(value: Any) -> None:
    validate_request_value(SAMPLE, value)


@pytest.mark.parametrize(
    "value",
    [1.5, True, "x", 2**31, {"count": 1, "share": 1.5}, {"count": 1, "pairs": {"a": "b"}}, {"count": 1, "name": 3}],
)
def test_values_of_other_types_are_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="the window sample cannot take"):
        validate_request_value(SAMPLE, value)
