"""Metrics of the policy, read on demand from its counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from heatbath.serve.policy.policy_counts import SecondsHistogram
from heatbath.serve.policy.served_policy import ServedPolicy


def policy_metrics(served: ServedPolicy) -> Iterator[Metric]:
    """Yield the metrics of a policy. The labels are scopes, actions, and ids of rules and fields."""
    counts = served.counts
    stale = "1 if the file of the policy is not the one in use, because it has a mistake."
    yield GaugeMetricFamily("heatbath_policy_stale", stale, value=float(served.problem is not None))
    verdicts = [((scope, action), count) for (scope, action), count in counts.verdicts.items()]
    yield _count("verdicts", "Texts that were judged.", ("scope", "verdict"), verdicts)
    actions = [((action,), count) for action, count in counts.actions.items()]
    yield _count("choices", "Choices, by what was done with them.", ("action",), actions)
    matches = [((rule,), count) for rule, count in counts.matches.items()]
    yield _count("matches", "Texts that a rule matched or could not judge.", ("rule",), matches)
    yield _count("faults", "Rules that could not judge a text, and verdicts that were late.", (), [((), counts.faults)])
    yield _count("tokens", "Tokens of choices that were judged.", (), [((), counts.tokens)])
    work = [((name,), nats) for name, nats in counts.work.items()]
    yield _sum("work_nats", "Work of the energies of a rule on what was drawn, in nats.", ("rule",), work)
    yield _histogram("verdict_seconds", "To judge one text.", counts.verdict_seconds)
    yield _histogram("hold_seconds", "A choice was held, from its first token on.", counts.hold_seconds)


def _count(name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(f"heatbath_policy_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _sum(name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """Return sums that may fall: energies below zero do negative work."""
    family = GaugeMetricFamily(f"heatbath_policy_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, seconds: SecondsHistogram) -> Metric:
    family = HistogramMetricFamily(f"heatbath_policy_{name}", text)
    family.add_metric([], seconds.buckets, seconds.sum)
    return family
