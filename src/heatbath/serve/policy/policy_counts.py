"""Counts of verdicts, rules, holds and work since the start of a server."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from heatbath.policy.verdict import Scope, Verdict
from heatbath.serve.policy.ruling import Ruling

SECONDS_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper edges of the bins of seconds, for verdicts and for holds."""


@dataclass
class SecondsHistogram:
    """Durations in bins whose upper edges are `SECONDS_EDGES`; the last bin is for all above."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_EDGES) + 1))
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(SECONDS_EDGES, seconds)] += 1
        self.sum += seconds

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """The cumulative counts by upper edge, as Prometheus has them."""
        total, found = 0, []
        for edge, count in zip((*map(str, SECONDS_EDGES), "+Inf"), self.counts, strict=True):
            total += count
            found.append((edge, float(total)))
        return found


@dataclass
class PolicyCounts:
    """Verdicts by scope and action, matches by rule, choices by what was done with them, and what that took.

    `work` is in nats, by the field of the policy that did it; `tokens` are those of the choices it was measured on.
    """

    verdicts: Counter[tuple[Scope, str]] = field(default_factory=Counter)
    matches: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    verdict_seconds: SecondsHistogram = field(default_factory=SecondsHistogram)
    hold_seconds: SecondsHistogram = field(default_factory=SecondsHistogram)
    work: Counter[str] = field(default_factory=Counter)
    tokens: int = 0

    def add_verdict(self, scope: Scope, verdict: Verdict, seconds: float) -> None:
        """Count a verdict, and the time that it took."""
        self.verdicts[scope, verdict.action] += 1
        self.matches.update(verdict.rules)
        self.faults += len(verdict.faults)
        self.verdict_seconds.add(seconds)

    def add_ruling(self, ruling: Ruling, work: Mapping[str, float]) -> None:
        """Count a choice, and the work that each field of the policy did on it."""
        self.actions[ruling.action] += 1
        self.hold_seconds.add(ruling.seconds)
        self.tokens += ruling.tokens
        for name, nats in work.items():
            self.work[name] += nats  # type: ignore[assignment]
