"""Gauges that are read on demand: the load of the engine, and whether engine and storage are available."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from heatbath.engine.base import Engine, EngineStats
from heatbath.serve.confidence import ServedCalibrator
from heatbath.serve.interfaces import Store
from heatbath.serve.policy.served_policy import ServedPolicy
from heatbath.serve.telemetry.policy_metrics import policy_metrics

if TYPE_CHECKING:
    from heatbath.serve.indexes import ServedIndexes


@dataclass(eq=False)
class ServerGauges(Collector):
    """Gauges of the engine, store, calibrator and policy of this server, once they are attached."""

    engine: Engine | None = None
    store: Store | None = None
    calibrator: ServedCalibrator | None = None
    indexes: ServedIndexes | None = None
    policy: ServedPolicy | None = None

    @property
    def engine_stats(self) -> EngineStats | None:
        """The load of the engine, None without one."""
        return None if self.engine is None else self.engine.stats

    def describe(self) -> list[Metric]:
        return [*_engine_gauges(EngineStats()), _build_up_gauge("engine", True), _build_up_gauge("store", True)]

    def collect(self) -> Iterator[Metric]:
        if self.engine is not None:
            yield from _engine_gauges(self.engine.stats)
            yield _build_up_gauge("engine", self.engine.unavailable_reason is None)
        if self.store is not None:
            yield _build_up_gauge("store", self.store.unavailable_reason is None)
        if self.calibrator is not None:
            yield from _calibration_gauges(self.calibrator)
        if self.indexes is not None:
            yield from _retrieval_gauges(self.indexes)
        if self.policy is not None:
            yield from policy_metrics(self.policy)


def _engine_gauges(stats: EngineStats) -> Iterator[Metric]:
    yield _build_gauge("engine_running_requests", "Requests in the engine's batch.", stats.running)
    yield _build_gauge("engine_waiting_requests", "Requests in the engine's queue.", stats.waiting)
    yield _build_gauge("engine_batch_rows", "Rows of the engine's batch; one request may have many.", stats.rows)
    yield _build_gauge("prefix_cache_bytes", "Memory that the prefix cache holds.", stats.prefix_bytes)
    yield _build_counter("prefix_asked_tokens", "Prompt tokens looked for in the prefix cache.", stats.prefix_asked)
    yield _build_counter("prefix_hit_tokens", "Prompt tokens found in the prefix cache.", stats.prefix_hit)


def _calibration_gauges(served: ServedCalibrator) -> Iterator[Metric]:
    monitor, counts = served.monitor, served.counts
    yield _build_gauge("calibration_stale", "1 if the calibration does not hold any more.", float(monitor.is_stale))
    for name, evidence in monitor.evidence.items():
        text = f"Evidence of the test on {name} as a share of what raises the alarm."
        yield _build_gauge(f"calibration_{name}_evidence_ratio", text, evidence)
    yield _build_gauge("calibration_labels", "Choices whose label is known.", monitor.num_labels)
    yield _build_counter("calibrated_answers", "Choices with a measured confidence.", counts.measured)
    yield _build_counter("uncalibrated_answers", "Choices without one.", counts.unmeasured)
    yield _build_counter("abstaining_answers", "Choices that the guarantee does not cover.", counts.abstaining)
    yield _build_counter("withheld_answers", "Choices below the confidence that was required.", counts.withheld)


def _retrieval_gauges(indexes: ServedIndexes) -> Iterator[Metric]:
    counts = indexes.counts
    yield _build_counter("retrieval_searches", "Searches for documents.", counts.searches)
    yield _build_counter("retrieval_empty_searches", "Searches that found nothing.", counts.empty)
    yield _build_counter(
        "retrieval_untriggered_requests", "Requests whose trigger asked for no search.", counts.untriggered
    )
    yield _build_counter("supported_claims", "Parts of answers that a passage supports.", counts.supported)
    yield _build_counter("unsupported_claims", "Parts of answers that no passage supports.", counts.unsupported)
    yield _build_counter("refused_citations", "Written citations without support.", counts.refused)
    yield _build_counter("unknown_citations", "Written citations of passages that were not shown.", counts.unknown)


def _build_gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"heatbath_{name}", text, value=value)


def _build_counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"heatbath_{name}", text, value=value)


def _build_up_gauge(what: str, is_up: bool) -> Metric:
    return _build_gauge(f"{what}_up", f"1 if the {what} takes work, 0 if not.", float(is_up))
