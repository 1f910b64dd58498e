"""Statistical mechanics for language models: energies, partition functions and the temperatures where a model turns.

import heatbath as hb

    hb.state(energies, beta=1.0)       log_z, mean energy, entropy, heat capacity … of one set of energies
    hb.curve(energies, betas)          the same at many temperatures, in one pass
    hb.bounds(logprobs, vocab_size)    what a top-k list still pins down
    hb.load("smollm2-135m")            a model: a catalog name, a hub id, a folder or a .gguf file
    hb.measure(model, text)            one thermodynamic record per token
    hb.generate(model, prompt, top_p=0.9, stop=".", max_tokens=64)
                                       samples, with the record beside them
    hb.sweep(model, prompts)           where the model freezes and melts, and which temperature to use
    hb.calibrate(model, data)          the confidence of its answers, checked against being right
    hb.decide(model, "Which team?", ["billing", "shipping"], text=text)
                                       the probabilities of labels, at a stated level

Every name is imported from its package when it is first used, so that the import itself costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.engine.generation import generate
    from heatbath.engine.measurement import measure
    from heatbath.engine.result import Generation
    from heatbath.ensemble import Bounds, LogZ, State, bounds, curve, nodes, state
    from heatbath.errors import BadInput, HeatbathError, MissingExtra, ModelError, NotANumber, Unreliable
    from heatbath.estimate import Estimate
    from heatbath.models import MarkovModel, Model, RandomEnergyModel, TableModel, TransformersModel, UrnModel, load
    from heatbath.phases import PhaseMap, sweep
    from heatbath.record import Trace
    from heatbath.trust.calibration import Calibrator, calibrate
    from heatbath.trust.decisions import decide

    __version__: str

__all__ = [
    "BadInput",
    "Bounds",
    "Calibrator",
    "Estimate",
    "Generation",
    "HeatbathError",
    "LogZ",
    "MarkovModel",
    "MissingExtra",
    "Model",
    "ModelError",
    "NotANumber",
    "PhaseMap",
    "RandomEnergyModel",
    "State",
    "TableModel",
    "Trace",
    "TransformersModel",
    "Unreliable",
    "UrnModel",
    "bounds",
    "calibrate",
    "curve",
    "decide",
    "generate",
    "load",
    "measure",
    "nodes",
    "state",
    "sweep",
]

_PUBLIC_NAMES = {
    "ensemble": ("Bounds", "LogZ", "State", "bounds", "curve", "nodes", "state"),
    "engine": ("Generation", "generate", "measure"),
    "errors": ("BadInput", "HeatbathError", "MissingExtra", "ModelError", "NotANumber", "Unreliable"),
    "estimate": ("Estimate",),
    "models": ("MarkovModel", "Model", "RandomEnergyModel", "TableModel", "TransformersModel", "UrnModel", "load"),
    "phases": ("PhaseMap", "sweep"),
    "record": ("Trace",),
    "trust.calibration": ("Calibrator", "calibrate"),
    "trust.decisions": ("decide",),
}
_PACKAGE_BY_NAME = {name: room for room, names in _PUBLIC_NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its package (PEP 562)."""
    if name == "__version__":
        return _read_version()
    if name not in _PACKAGE_BY_NAME:
        raise AttributeError(f"module 'heatbath' has no attribute {name!r}")
    value = getattr(import_module(f"heatbath.{_PACKAGE_BY_NAME[name]}"), name)
    globals()[name] = value
    return value


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("heatbath")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+source"


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
