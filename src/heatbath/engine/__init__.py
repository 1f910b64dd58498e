"""The decoding loop and its hosts: measure a text, generate from a prompt, serve requests.

measure(model, text)              the trace of a text
measure_stream(model, documents)  the same for documents of any length, in constant memory
generate(model, prompt, …)        samples with their records, a `Generation`
Run(model, prompts, settings)     the same step by step
"""

from __future__ import annotations

from heatbath.decode.sampler_arguments import validate_temperatures
from heatbath.engine.chunking import Document
from heatbath.engine.driver import Run
from heatbath.engine.generation import generate, repeat_prompts
from heatbath.engine.measurement import beta_from_temperature, join_traces, measure, measure_stream
from heatbath.engine.model_selection import ModelFit, rank_models
from heatbath.engine.registry import SAMPLERS
from heatbath.engine.result import Generation, Sample
from heatbath.engine.run_buffer import GenerationArrays
from heatbath.engine.settings import GenerationSettings

__all__ = [
    "SAMPLERS",
    "Document",
    "Generation",
    "GenerationArrays",
    "GenerationSettings",
    "ModelFit",
    "Run",
    "Sample",
    "beta_from_temperature",
    "generate",
    "join_traces",
    "measure",
    "measure_stream",
    "rank_models",
    "repeat_prompts",
    "validate_temperatures",
]
