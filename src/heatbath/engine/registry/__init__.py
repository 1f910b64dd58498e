"""Components by name: fields, potentials, windows, schedules and samplers, built from plain values.

    build(FIELDS, ("json_schema", {"type": "object"}), context)
    build_from_text(FIELDS, "dry=0.8", context)

Each registers itself beside its code (`heatbath.energy.spec`). A `BuildContext` holds the model and `max_tokens`.
"""

from heatbath.energy.spec import BuildContext, Spec
from heatbath.engine.registry.components import build, build_from_text, build_labeled, resolve_components
from heatbath.engine.registry.discovery import FIELDS, POTENTIALS, SAMPLERS, SCHEDULES, WINDOWS, Registry
from heatbath.engine.registry.samplers import build_sampler

__all__ = [
    "FIELDS",
    "POTENTIALS",
    "SAMPLERS",
    "SCHEDULES",
    "WINDOWS",
    "BuildContext",
    "Registry",
    "Spec",
    "build",
    "build_from_text",
    "build_labeled",
    "build_sampler",
    "resolve_components",
]
