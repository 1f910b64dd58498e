"""Hosts that run a model: measure a text, generate from a prompt; where samplers meet records.

measure(model, text)            the trace of a text
measure_stream(model, documents)  the same for documents of any length, in constant memory
generate(model, prompt, …)      samples with their records, a `Generation`
Run(model, prompts, Settings)   the same step by step
"""

from __future__ import annotations

from heatbath.engine.documents import Document
from heatbath.engine.generating import generate, repeated
from heatbath.engine.generation import Generation, Sample
from heatbath.engine.measuring import beta_of, join, measure, measure_stream
from heatbath.engine.routing import Route, route
from heatbath.engine.run import Run, Settings
from heatbath.engine.samplers import SAMPLERS, checked_temperatures
from heatbath.engine.tape import Arrays

__all__ = [
    "SAMPLERS",
    "Arrays",
    "Document",
    "Generation",
    "Route",
    "Run",
    "Sample",
    "Settings",
    "beta_of",
    "checked_temperatures",
    "generate",
    "join",
    "measure",
    "measure_stream",
    "repeated",
    "route",
]
