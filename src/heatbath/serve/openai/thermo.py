"""The `thermo` field of responses: records, summaries, edges of the phase map, figures of the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput, TokenTexts, record_columns, summarize_records
from heatbath.serve.openai.schema.sampling import ThermoOptions


def choice_thermo(choice: ChoiceOutput, options: ThermoOptions, texts: TokenTexts, phase_map: Any) -> dict[str, Any]:
    """Return the records of a choice if they were asked for, its summary, and the edges of the phase map."""
    records = {"records": record_columns(choice.tokens, texts)} if options.record_mode else {}
    return {**records, **choice_summary(choice, phase_map)}


def choice_summary(choice: ChoiceOutput, phase_map: Any) -> dict[str, Any]:
    """Return the summary of a choice, and the edges of the phase map; null for one whose tokens are not shown."""
    if choice.ruling is not None and not choice.ruling.shows_tokens:
        return {"summary": None, "edges": {}}
    summary = summarize_records(choice.tokens)
    return {"summary": summary, "edges": locate_edges(phase_map, summary.get("temperature"))}


def locate_edges(phase_map: Any, temperatures: Sequence[float] | None) -> dict[str, Any]:
    """Return on which side of each edge of a map the temperatures of a choice lie: below, inside, above or across.

    Empty without a map; null for an edge that was not found.
    """
    sides: dict[str, Any] = {}
    for edge in () if phase_map is None else phase_map.edges:
        interval = edge.interval
        if interval is None or temperatures is None:
            sides[edge.name] = None
            continue
        side = _side(temperatures, interval)
        place = {"temperature": edge.temperature, "interval": list(interval)}
        sides[edge.name] = {**place, "inside": side == "inside", "side": side}
    return sides


def _side(temperatures: Sequence[float], interval: Sequence[float]) -> str:
    low, high = temperatures[0], temperatures[-1]
    if high < interval[0]:
        return "below"
    if low > interval[1]:
        return "above"
    return "inside" if interval[0] <= low and high <= interval[1] else "across"


def response_thermo(outputs: Sequence[PromptOutput], stored: bool | None) -> dict[str, Any]:
    """Return the seed, the figures of the sampler, whether the seed repeats the result, and whether it is stored."""
    first = outputs[0]
    seed = None if first.began is None else first.began.seed
    if len(outputs) == 1:
        return {"seed": seed, **_sampler_figures(first), "stored": stored}
    return {"seed": seed, "prompts": [_sampler_figures(output) for output in outputs], "stored": stored}


def _sampler_figures(output: PromptOutput) -> dict[str, Any]:
    ended = output.ended
    if ended is None:
        return {}
    return {
        "log_z": ended.log_z,
        "log_z_stderr": ended.log_z_stderr,
        "unreliable": ended.unreliable_reason or None,
        "ess": ended.ess,
        "log_weights": list(ended.log_weights),
        "diagnostics": dict(ended.diagnostics),
        "tokens_spent": ended.tokens_spent,
        "repeatable": ended.deterministic,
        "why": ended.nondeterminism_reason,
    }
