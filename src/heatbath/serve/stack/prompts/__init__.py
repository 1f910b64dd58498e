"""A library of prompts: Markdown files with front matter, their versions, their rendering and their baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.serve.stack.prompts.baseline import Baseline, BaselineSettings, measure_baseline
    from heatbath.serve.stack.prompts.drift import Change, compare_baselines
    from heatbath.serve.stack.prompts.library import PromptLibrary
    from heatbath.serve.stack.prompts.template import PromptTemplate, RenderedPrompt, read_template

__all__ = [
    "Baseline",
    "BaselineSettings",
    "Change",
    "PromptLibrary",
    "PromptTemplate",
    "RenderedPrompt",
    "compare_baselines",
    "measure_baseline",
    "read_template",
]

_MODULES = {
    "Baseline": "baseline",
    "BaselineSettings": "baseline",
    "Change": "drift",
    "PromptLibrary": "library",
    "PromptTemplate": "template",
    "RenderedPrompt": "template",
    "compare_baselines": "drift",
    "measure_baseline": "baseline",
    "read_template": "template",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
