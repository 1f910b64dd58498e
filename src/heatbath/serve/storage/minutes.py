"""Figures of one minute: each process writes its own, readers get the sum over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Minute:
    """Figures of one model in the minute that begins at `start` (Unix seconds, a multiple of 60).

    `counts` are additive: numbers and sums by name. `histograms` are counts per bin, by name; the bins are the
    writer's, the same for the same name.
    """

    start: float
    model: str
    counts: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, list[float]] = field(default_factory=dict)


class MinuteStore(Protocol):
    """A store of minutes."""

    async def write_minutes(self, rows: Sequence[Minute]) -> None:
        """Store this process's figures so far, in place of those stored before. Raises `StoreUnavailable`."""

    async def read_minutes(self, since: float) -> list[Minute]:
        """Return the minutes that start at `since` (Unix seconds) or later, summed over processes, oldest first."""


def merge_minutes(minutes: Iterable[Minute]) -> list[Minute]:
    """Return one minute for each start and model, oldest first; histograms of unequal lengths are padded with zeros."""
    groups: dict[tuple[float, str], list[Minute]] = {}
    for minute in minutes:
        groups.setdefault((minute.start, minute.model), []).append(minute)
    return [
        Minute(start, model, _merge_counts(members), _merge_histograms(members))
        for (start, model), members in sorted(groups.items())
    ]


def _merge_counts(members: Sequence[Minute]) -> dict[str, float]:
    names = dict.fromkeys(name for member in members for name in member.counts)
    return {name: sum(member.counts.get(name, 0.0) for member in members) for name in names}


def _merge_histograms(members: Sequence[Minute]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for member in members for name in member.histograms)
    return {name: _add_columns([member.histograms.get(name, []) for member in members]) for name in names}


def _add_columns(columns: Sequence[Sequence[float]]) -> list[float]:
    length = max(map(len, columns))
    return [sum(column[i] for column in columns if i < len(column)) for i in range(length)]
