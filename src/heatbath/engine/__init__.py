"""The decoding loop and its hosts: measure a text, generate from a prompt, serve many requests at once.

    measure(model, text)                    the trace of a text
    measure_stream(model, documents)        the same for documents of any length, in constant memory
    generate(model, prompt, ...)            samples with their records, a `Generation`
    Run(model, prompts, GenerationSettings) the same step by step
    LocalEngine(model)                      many requests at once, as the server runs them

Names are imported when they are first used, so that a server loads only what it runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.decode.sampler_arguments import validate_temperatures
    from heatbath.engine.base import (
        ComponentSpec,
        Engine,
        Finished,
        RecordMode,
        Request,
        Started,
        Token,
        TokensGenerated,
    )
    from heatbath.engine.chunking import Document
    from heatbath.engine.driver import Run
    from heatbath.engine.generation import generate, repeat_prompts
    from heatbath.engine.generation_options import GenerationOptions, build_settings
    from heatbath.engine.local import EngineConfig, LocalEngine
    from heatbath.engine.measurement import beta_from_temperature, join_traces, measure, measure_stream
    from heatbath.engine.mock import MockEngine
    from heatbath.engine.model_selection import ModelFit, rank_models
    from heatbath.engine.registry import FIELDS, POTENTIALS, SAMPLERS, SCHEDULES, WINDOWS
    from heatbath.engine.result import Generation, Sample
    from heatbath.engine.run_buffer import GenerationArrays
    from heatbath.engine.settings import GenerationSettings

_MODULES = {
    **dict.fromkeys(
        ("ComponentSpec", "Engine", "Finished", "RecordMode", "Request", "Started", "Token", "TokensGenerated"), "base"
    ),
    "Document": "chunking",
    "Run": "driver",
    **dict.fromkeys(("generate", "repeat_prompts"), "generation"),
    **dict.fromkeys(("GenerationOptions", "build_settings"), "generation_options"),
    **dict.fromkeys(("EngineConfig", "LocalEngine"), "local"),
    **dict.fromkeys(("beta_from_temperature", "join_traces", "measure", "measure_stream"), "measurement"),
    "MockEngine": "mock",
    **dict.fromkeys(("ModelFit", "rank_models"), "model_selection"),
    **dict.fromkeys(("FIELDS", "POTENTIALS", "SAMPLERS", "SCHEDULES", "WINDOWS"), "registry"),
    **dict.fromkeys(("Generation", "Sample"), "result"),
    "GenerationArrays": "run_buffer",
    "GenerationSettings": "settings",
}

__all__ = [
    "FIELDS",
    "POTENTIALS",
    "SAMPLERS",
    "SCHEDULES",
    "WINDOWS",
    "ComponentSpec",
    "Document",
    "Engine",
    "EngineConfig",
    "Finished",
    "Generation",
    "GenerationArrays",
    "GenerationOptions",
    "GenerationSettings",
    "LocalEngine",
    "MockEngine",
    "ModelFit",
    "RecordMode",
    "Request",
    "Run",
    "Sample",
    "Started",
    "Token",
    "TokensGenerated",
    "beta_from_temperature",
    "build_settings",
    "generate",
    "join_traces",
    "measure",
    "measure_stream",
    "rank_models",
    "repeat_prompts",
    "validate_temperatures",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name == "validate_temperatures":
        from heatbath.decode.sampler_arguments import validate_temperatures as value
    elif name in _MODULES:
        value = getattr(import_module(f"heatbath.engine.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module 'heatbath.engine' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
