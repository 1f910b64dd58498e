"""Components register themselves: a file dropped into a package is found everywhere, and every example builds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heatbath.decode
import heatbath.decode.windows
from heatbath.cli.main import main
from heatbath.engine import (
    FIELDS,
    POTENTIALS,
    SAMPLERS,
    SCHEDULES,
    WINDOWS,
    ComponentSpec,
    GenerationSettings,
    LocalEngine,
    Request,
    TokensGenerated,
    generate,
)
from heatbath.engine.registry import BuildContext, Registry, build, build_sampler
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.serve.errors import ApiError
from heatbath.serve.openai.sampling_params import check_components
from heatbath.serve.openai.schema.sampling import ThermoOptions

WINDOW = '''
from heatbath.decode.windows import Window, band_up_to
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput


def above_ground(nats: float) -> Window:
    """States at most so many nats above the ground."""
    if not nats >= 0:
        raise BadInput(f"above_ground is {nats}: give a number from 0 up.")
    return Window(f"above_ground={nats:g}", lambda seen, uniform: band_up_to(seen, nats))


SPEC = Spec("above_ground", "window", above_ground, "2.0", takes_context=False)
'''
SAMPLER = """
from heatbath.decode.greedy import Greedy
from heatbath.decode.independent import Independent
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.energy.spec import Spec


def build(arguments: SamplerArguments) -> Independent:
    return Independent(Greedy(arguments.fields))


SPEC = Spec("coldest", "sampler", build, streams=True)
"""
LETTERS = [b"a", b"b", b"1", b"2"]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TableModel:
    """Energies 0, 1, 2, 3 everywhere; also what the command line loads."""
    import heatbath.models

    table = TableModel(lambda prefix: [0.0, 1.0, 2.0, 3.0], length=6, symbols=LETTERS)
    monkeypatch.setattr(heatbath.models, "load", lambda name, **options: table, raising=False)
    return table


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a window and one with a sampler, each on the path of its package."""
    homes = ((heatbath.decode.windows, "above_ground", WINDOW), (heatbath.decode, "coldest", SAMPLER))
    for package, name, text in homes:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    WINDOWS.refresh()
    SAMPLERS.refresh()
    yield
    monkeypatch.undo()
    for package, name, _ in homes:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)
    WINDOWS.refresh()
    SAMPLERS.refresh()


def ask(model: TableModel, request: Request) -> list[Any]:
    async def collect() -> list[Any]:
        engine = LocalEngine(model)
        await engine.start()
        events = [event async for event in engine.submit(request)]
        await engine.drain(1.0)
        return events

    return asyncio.run(collect())


def generated_ids(events: list[Any]) -> list[int]:
    return [token.id for event in events if isinstance(event, TokensGenerated) for token in event.tokens]


@pytest.mark.usefixtures("dropped")
def test_a_window_in_a_file_of_its_own_is_found_everywhere(
    model: TableModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(WINDOWS)[-1] == "above_ground"
    for asked in ({"above_ground": 1.5}, {"window": "above_ground=1.5"}, {"window": {"above_ground": 1.5}}):
        out = generate(model, [], n=40, max_tokens=6, temperature=5.0, **asked)  # type: ignore[arg-type]
        assert {token for row in out.sequences for token in row} == {0, 1}
    arguments = ["generate", "--window", "above_ground=1.5", "-T", "5", "-n", "8", "--max-tokens", "6", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert set("".join(sample["text"] for sample in found["samples"])) <= {"a", "b"}
    check_components(ThermoOptions(windows={"above_ground": 1.5}))
    request = Request((), "x", n=8, max_tokens=6, temperature=5.0, windows=[ComponentSpec("above_ground", 1.5)], seed=1)
    assert set(generated_ids(ask(model, request))) == {0, 1}


@pytest.mark.usefixtures("dropped")
def test_a_sampler_in_a_file_of_its_own_is_found_everywhere(
    model: TableModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(SAMPLERS)[-1] == "coldest" and SAMPLERS["coldest"].streams
    assert generate(model, [], sampler="coldest", max_tokens=3).sequences == [[0, 0, 0]]
    assert main(["generate", "--sampler", "coldest", "--max-tokens", "3"]) == 0
    assert capsys.readouterr().out == "aaa\n"
    assert main(["generate", "--help"]) == 0
    assert "langevin, coldest." in " ".join(capsys.readouterr().out.split())
    check_components(ThermoOptions(sampler="coldest"))
    assert generated_ids(ask(model, Request((), "x", max_tokens=3, sampler="coldest", seed=1))) == [0, 0, 0]


@pytest.mark.parametrize("registry", [FIELDS, POTENTIALS, SCHEDULES, WINDOWS], ids=lambda registry: registry.kind)
def test_every_example_builds(registry: Registry[Any], model: TableModel) -> None:
    context = BuildContext(model, 4)
    # Where an example shows a form of a value and not one, or names a thing there may not be.
    values = {
        "forbid": ["b"],
        "forbid_tokens": [1],
        "phrase_energy": {"phrases": ["b"], "energy": 2.0},
        "token_energy": {"tokens": ["b", 0], "energy": 2.0},
        "forbid_regex": "b",
        "require": ["b"],
        "bias": {"b": 2.0, "3": -1.0},
        "json_schema": {"type": "integer", "maximum": 22},
        "lark": 'start: "a"',
        "contrast": {"other": "a", "gamma": 1.5},
        "product": "table",
        "mixture": "table",
        "max_entropy": {"features": {"a": [1.0]}, "lambdas": [0.5]},
        "automaton": {"arcs": [[0, "a", 1, 0.7]], "final": [1]},
        "cfg": "S -> 'a'",
        "similarity": "a",
        "function": "builtins:len",
        "by_phase": {"marker": "a", "before": 1.0, "after": 0.3},
    }
    for name, spec in registry.items():
        value = values.get(name, spec.example)
        if isinstance(value, str) and name in ("min_length", "max_length"):
            value = "3"
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value) if isinstance(value, str) else value
        assert build(registry, (name, value or None), context) is not None
        assert spec.kind == registry.kind


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_builds_and_says_its_options(name: str) -> None:
    spec = SAMPLERS[name]
    sampler: Any = build_sampler(GenerationSettings(sampler=name), 1)
    taken = {"alpha", "proposal", "method", *vars(sampler)}
    if name == "power":
        for method in ("metropolis", "lookahead"):
            taken |= set(vars(build_sampler(GenerationSettings(sampler=name, options={"method": method}), 1)))
    if name == "awrs":
        taken |= set(vars(sampler.target.proposal))
    assert set(spec.options) <= taken
    assert spec.streams == (not spec.options)


def test_registries_are_read_only_and_in_order() -> None:
    with pytest.raises(TypeError):
        WINDOWS["mine"] = WINDOWS["top_k"]  # type: ignore[index]
    assert [*WINDOWS][:4] == ["top_k", "top_p", "min_p", "typical"]
    assert [*SAMPLERS][:2] == ["ancestral", "greedy"]


def test_two_components_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "again.py").write_text(WINDOW.replace('"above_ground", "window"', '"top_p", "window"'))
    monkeypatch.setattr(heatbath.decode.windows, "__path__", [*heatbath.decode.windows.__path__, str(tmp_path)])
    with pytest.raises(RuntimeError, match="two components are registered as the window 'top_p'"):
        list(Registry("window", "heatbath.decode.windows"))
    sys.modules.pop("heatbath.decode.windows.again", None)


def test_requests_may_not_load_models_or_code(model: TableModel) -> None:
    assert set(FIELDS) - set(FIELDS.offered_specs) == {"product", "mixture"}
    assert set(POTENTIALS) - set(POTENTIALS.offered_specs) == {"function", "cfg"}
    assert set(SAMPLERS) == set(SAMPLERS.offered_specs) and set(WINDOWS) == set(WINDOWS.offered_specs)
    with pytest.raises(ApiError, match=r"thermo\.fields names"):
        check_components(ThermoOptions(fields={"product": "x"}))
    withheld = {"fields": ComponentSpec("mixture", "x"), "potentials": ComponentSpec("function", "os:getcwd")}
    for param, component in withheld.items():
        with pytest.raises(BadInput, match="there is no"):
            ask(model, Request((), "x", **{param: [component]}))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="has 65 features: give at most 64"):
        value = {"features": {"a": [0.0] * 65}, "lambdas": [0.0] * 65}
        ask(model, Request((), "x", fields=[ComponentSpec("max_entropy", value)]))
    with pytest.raises(BadInput, match="may reject at most 64 tokens per step in a request, got 65"):
        ask(model, Request((), "x", sampler="awrs", options={"max_rejects": 65}))


def test_an_engine_loads_no_sampler_before_it_runs() -> None:
    code = "import sys, heatbath.engine.base, heatbath.serve.openai.sampling_params\n"
    report = "print(*(name for name in sys.modules if name.startswith('heatbath.decode')))"
    done = subprocess.run([sys.executable, "-c", code + report], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_the_seed_of_a_sampler_by_name_is_that_of_the_sampler(model: TableModel) -> None:
    from heatbath.decode import Ancestral

    named = generate(model, [], n=3, max_tokens=6, temperature=0.7, seed=2)
    given = generate(model, [], n=3, max_tokens=6, sampler=Ancestral(0.7), seed=2)
    assert named.sequences == given.sequences and np.allclose(named.logprob, given.logprob)
