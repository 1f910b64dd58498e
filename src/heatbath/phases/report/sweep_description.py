"""A sweep in words: what was swept, for the first lines of the report, of the terminal and of phases.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heatbath.phases.phase_map_data import PhaseMapData

SETTING_LABELS = {
    "dtype": "precision",
    "device": "device",
    "chat": "chat template",
    "system": "system message",
    "prompts": "number of prompts",
    "prompt_source": "prompts",
    "window": "windows",
    "allow_end": "end of text allowed",
    "length": "most tokens per text",
    "width": "width of edges to stop at",
}
"""What is swept, in the order of the table of settings; the numbers of the plan follow."""


def describe_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return what was swept in up to two phrases: the model and how it was asked, and how texts were drawn.

    A map of an earlier version lacks some of the settings, and what is not known is not said.
    """
    model = [_describe_precision(settings), _describe_chat(settings), _describe_prompts(settings)]
    drawing = [_describe_windows(settings), _describe_length(settings)]
    return [", ".join(filter(None, parts)) for parts in (model, drawing) if any(parts)]


def _describe_precision(settings: Mapping[str, Any]) -> str:
    dtype, device = settings.get("dtype"), settings.get("device")
    return f"{dtype} on {device}" if dtype and device else str(dtype or "")


def _describe_chat(settings: Mapping[str, Any]) -> str:
    if not settings.get("chat"):
        return "" if settings.get("chat") is None else "without a chat template"
    system = settings.get("system")
    return "chat template" + ("" if system is None else f", system message {system!r:.60}")


def _describe_prompts(settings: Mapping[str, Any]) -> str:
    count, source = settings.get("prompts"), settings.get("prompt_source")
    if source is None or count is None:
        return ""
    if source == "start of a document":
        return "texts from the start of a document"
    noun = "prompt" if count == 1 else "prompts"
    return {"built-in": f"{count} built-in {noun}", "given": f"{count} {noun}"}.get(
        source, f"{count} {noun} of {source}"
    )


def _describe_windows(settings: Mapping[str, Any]) -> str:
    window = settings.get("window")
    if window is None:
        return ""
    return f"drawn through {', then '.join(window)}" if window else "drawn without windows"


def _describe_length(settings: Mapping[str, Any]) -> str:
    length, allow_end = settings.get("length"), settings.get("allow_end")
    if length is None or allow_end is None:
        return ""
    return f"up to {length} tokens, end of text allowed" if allow_end else f"{length} tokens, end of text forbidden"


def describe_sweep(map_: PhaseMapData) -> list[str]:
    """Return what was swept in a few lines: the model and how it was asked, and how texts were drawn."""
    return describe_settings(map_.settings)


def describe_averages(map_: PhaseMapData) -> str:
    """Return over which tokens the quantities per token are averages, and how texts of other temperatures count."""
    tokens = _describe_tokens(map_)
    if map_.settings.get("window"):
        return (
            f"{tokens} Records are of the model without windows; each text was drawn through the windows at its own "
            "temperature, and counts at that temperature alone: the curve is fitted to values, without responses."
        )
    return (
        f"{tokens} Temperatures are those of the full next-token distribution, without truncation; points with error "
        "bars are measured from all texts, reweighted exactly, and the curve is fitted to values and responses."
    )


def _describe_tokens(map_: PhaseMapData) -> str:
    if map_.settings.get("allow_end"):
        return "Quantities per token are averages over all tokens of the texts, the end of text included."
    return "Quantities per token are averages over the second half of the texts, where the start is forgotten."


def label_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings as the table of the report has them: what was swept first, under its name there."""
    labels = {name: SETTING_LABELS[name] for name in SETTING_LABELS if name in settings}
    labels |= {name: name for name in settings if name not in labels}
    return {label: _format_setting(settings[name]) for name, label in labels.items()}


def _format_setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in value) or "none"
    return "none" if value is None else str(value)
