"""The `thermo` of a request and of an answer: records, sampler, schedule, and what steers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.engine.base import ComponentSpec
from heatbath.serve.api.gathered import Answer, Gathered
from heatbath.serve.api.logprobs import Speller
from heatbath.serve.api.offered import check_names
from heatbath.serve.api.schema.sampling import Thermo
from heatbath.serve.api.summaries import columns, summary
from heatbath.serve.errors import invalid_value

BY_TOKEN = ("ancestral", "greedy")
"""Samplers whose answers can be shown as they grow."""


def steering(asked: Thermo | None) -> dict[str, Any]:
    """What `thermo` asks for, as settings of `engine.base.Request`; windows and fields are in addition to others.

    Raises:
        ApiError: 400 for a list that holds anything but names with values.
    """
    if asked is None:
        return {}
    check_names(asked)
    return {
        "record": "nodes" if asked.records == "nodes" else "state",
        "sampler": asked.sampler or "ancestral",
        "options": asked.options,
        "schedule": _one(asked.schedule),
        "windows": tuple(_many(asked.windows, "windows")),
        "fields": tuple(_many(asked.fields, "fields")),
        "potentials": tuple(_many(asked.potentials, "potentials")),
    }


def _one(given: str | dict[str, Any] | None) -> ComponentSpec | None:
    if given is None or isinstance(given, str):
        return None if given is None else ComponentSpec(given)
    if len(given) != 1:
        raise invalid_value(f"thermo.schedule names {len(given)} schedules: give one.", "thermo.schedule")
    return ComponentSpec(*next(iter(given.items())))


def _many(given: dict[str, Any] | list[Any], what: str) -> list[ComponentSpec]:
    if isinstance(given, dict):
        return [ComponentSpec(name, value) for name, value in given.items()]
    return [asked for i, item in enumerate(given) for asked in _item(item, f"thermo.{what}[{i}]")]


def _item(item: Any, place: str) -> list[ComponentSpec]:
    if isinstance(item, str):
        return [ComponentSpec(item)]
    if isinstance(item, dict) and len(item) == 1:
        return [ComponentSpec(*next(iter(item.items())))]
    raise invalid_value(f"{place} is no name with its value: write {{name: value}}.", place)


def of_choice(answer: Answer, asked: Thermo, spell: Speller, chart: Any) -> dict[str, Any]:
    """What a choice says of itself: its records if they were asked for, its summary, and the edges of the map."""
    records = {"records": columns(answer.tokens, spell)} if asked.records else {}
    return {**records, **closing(answer, chart)}


def closing(answer: Answer, chart: Any) -> dict[str, Any]:
    """What a choice says when it has ended."""
    found = summary(answer.tokens)
    return {"summary": found, "edges": edges(chart, found.get("temperature"))}


def edges(chart: Any, temperatures: Sequence[float] | None) -> dict[str, Any]:
    """Where the temperatures of an answer lie by each edge of a map: below, inside its interval, above, or across.

    Empty without a map; null for an edge that was not found.
    """
    found: dict[str, Any] = {}
    for edge in () if chart is None else chart.edges:
        interval = edge.interval
        if interval is None or temperatures is None:
            found[edge.name] = None
            continue
        side = _side(temperatures, interval)
        place = {"temperature": edge.temperature, "interval": list(interval)}
        found[edge.name] = {**place, "inside": side == "inside", "side": side}
    return found


def _side(temperatures: Sequence[float], interval: Sequence[float]) -> str:
    low, high = temperatures[0], temperatures[-1]
    if high < interval[0]:
        return "below"
    if low > interval[1]:
        return "above"
    return "inside" if interval[0] <= low and high <= interval[1] else "across"


def of_answer(gathered: Sequence[Gathered], more: Mapping[str, Any]) -> dict[str, Any]:
    """What the whole answer says: seed, the sampler's figures, and whether the seed gives it again."""
    first = gathered[0]
    seed = None if first.began is None else first.began.seed
    if len(gathered) == 1:
        return {"seed": seed, **_figures(first), **more}
    return {"seed": seed, "prompts": [_figures(each) for each in gathered], **more}


def _figures(gathered: Gathered) -> dict[str, Any]:
    ended = gathered.ended
    if ended is None:
        return {}
    return {
        "log_z": ended.log_z,
        "log_z_stderr": ended.log_z_stderr,
        "ess": ended.ess,
        "log_weights": list(ended.log_weights),
        "diagnostics": dict(ended.diagnostics),
        "tokens_spent": ended.tokens_spent,
        "repeatable": ended.deterministic,
        "why": ended.nondeterminism_reason,
    }
