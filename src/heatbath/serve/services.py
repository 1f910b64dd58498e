"""The parts of a running server, and how they are built from the settings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heatbath.engine.base import Engine
from heatbath.errors import BadInput
from heatbath.serve.http.auth import Keyring, build_keyring
from heatbath.serve.interfaces import RequestObserver, Store
from heatbath.serve.lazy_engine import LazyEngine
from heatbath.serve.lifecycle import Lifecycle
from heatbath.serve.logging import Logger, build_logger
from heatbath.serve.model_names import ModelNames, build_model_names
from heatbath.serve.rate_limits import RateLimiter, build_rate_limiter
from heatbath.serve.settings import Settings

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap
    from heatbath.serve.confidence import ServedCalibrator
    from heatbath.serve.indexes import ServedIndexes
    from heatbath.serve.policy.served_policy import ServedPolicy
    from heatbath.serve.review.queue import StoredReviewQueue
    from heatbath.serve.stack.prompts import PromptLibrary
    from heatbath.serve.storage import MinuteStore, SqlStore
    from heatbath.serve.telemetry import Metrics
    from heatbath.serve.telemetry.otel.export import Tracing
    from heatbath.trust.decisions import DecisionFit

LifespanFactory = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Services:
    """The parts of a server; handlers reach them by `request.app.state.services`.

    Attributes:
        phase_map: that of the settings, else the one that comes with the model, once it is loaded.
        calibrator: that of the settings, None without one.
        indexes: of documents, None where the settings have none.
        policy: that of the settings, None without one.
        decision_fits: fits of decisions by the digest of their question.
        prompts: the prompt library of the settings, None without one.
        minute_store: keeps the minutes that `metrics` counts.
        review: the queue of answers that wait for a person, None where it is not enabled.
        lifespans: entered in order before the engine starts, and left in reverse order when it has stopped.
    """

    settings: Settings
    engine: Engine
    store: Store
    model_names: ModelNames
    observers: Sequence[RequestObserver] = ()
    phase_map: PhaseMap | None = None
    calibrator: ServedCalibrator | None = None
    indexes: ServedIndexes | None = None
    policy: ServedPolicy | None = None
    decision_fits: Mapping[str, DecisionFit] = field(default_factory=dict)
    prompts: PromptLibrary | None = None
    metrics: Metrics | None = None
    minute_store: MinuteStore | None = None
    review: StoredReviewQueue | None = None
    keys: Keyring = field(default_factory=lambda: Keyring({}))
    rate_limiter: RateLimiter = field(default_factory=RateLimiter)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    log: Logger = field(default_factory=build_logger)
    lifespans: Sequence[LifespanFactory] = ()
    created_at: float = field(default_factory=time.time)


def build_services(settings: Settings, *, engine: Engine | None = None) -> Services:
    """Build all parts from the settings; `engine` replaces the one they describe, whose model loads when it starts.

    Raises:
        BadInput: settings that contradict each other.
        MissingExtra: PostgreSQL or OpenTelemetry without their packages.
        DatabaseUnusable: the database is damaged or of another version.
    """
    from heatbath.serve.telemetry import build_metrics

    names, keys, limits = build_model_names(settings.model), build_keyring(settings.keys), build_rate_limiter(settings)
    metrics = build_metrics([names.model], names.aliases)
    tracings = _build_tracing(settings, names)
    phase_map = _load_phase_map(settings)
    calibrator = _load_calibrator(settings)
    metrics.gauges.calibrator = calibrator
    log = build_logger(settings.server.log, form=settings.server.log_format)
    prompts = _open_prompts(settings, log)
    metrics.gauges.indexes = indexes = _load_indexes(settings)
    store = _open_store(settings)
    review = _build_review_queue(settings, store)
    policy = _load_policy(settings)
    metrics.gauges.policy = policy
    engine = engine or _build_lazy_engine(settings, metrics)
    lifecycle = Lifecycle()
    feed = (
        [_build_feed(settings, metrics, lambda: find_unavailable_parts(lifecycle, engine, store))]
        if settings.server.page
        else []
    )
    return Services(
        settings,
        engine,
        metrics.attach_gauges(engine, store),
        names,
        observers=(metrics.request_metrics, *feed, *(each.observer for each in tracings)),
        phase_map=phase_map,
        calibrator=calibrator,
        indexes=indexes,
        policy=policy,
        decision_fits=_load_decision_fits(settings),
        prompts=prompts,
        metrics=metrics,
        minute_store=store,
        review=review,
        keys=keys,
        rate_limiter=limits,
        lifecycle=lifecycle,
        log=log,
        lifespans=(
            lambda: _close_on_exit(store),
            lambda: metrics.run_background_tasks(store),
            *([] if review is None else [review.run]),
            *([] if policy is None else [lambda: policy.reload_periodically(log)]),
            *(each.close_on_exit for each in tracings),
        ),
    )


def find_unavailable_parts(lifecycle: Lifecycle, engine: Engine, store: Store) -> dict[str, str]:
    """Return one sentence for each part that is unavailable, by part."""
    reasons = (
        {"server": lifecycle.unavailable_reason}
        if lifecycle.is_draining
        else {"engine": lifecycle.unavailable_reason or engine.unavailable_reason}
    )
    return {part: reason for part, reason in {**reasons, "storage": store.unavailable_reason}.items() if reason}


@asynccontextmanager
async def _close_on_exit(store: SqlStore) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await store.close()


def _open_store(settings: Settings) -> SqlStore:
    from heatbath.serve.storage import open_store

    storage = settings.storage
    return open_store(storage.url, days=storage.days, content=storage.content)


def _build_review_queue(settings: Settings, store: SqlStore) -> StoredReviewQueue | None:
    if not settings.review.enabled:
        return None
    from heatbath.policy.review import SYSTEM_REVIEWERS
    from heatbath.serve.review.queue import StoredReviewQueue

    for name in SYSTEM_REVIEWERS & settings.keys.keys():
        if "review" in settings.keys[name].scopes:
            raise BadInput(f"keys.{name} is to review, and {name} stands for nobody in decisions: give another name.")
    return StoredReviewQueue(store, settings.review)


def _build_lazy_engine(settings: Settings, metrics: Metrics) -> Engine:
    """Return the engine of the settings; its model loads when it starts."""
    engine, model = settings.engine, settings.model

    def build() -> Engine:
        from heatbath.engine.local import EngineConfig, LocalEngine
        from heatbath.models import load

        options = EngineConfig(
            engine.max_rows,
            engine.max_waiting,
            engine.prefix_cache_mb << 20,
            engine.deadline_seconds,
            engine.warm_up,
            max_request_tokens=engine.max_request_tokens,
            prefill_seconds=engine.prefill_seconds,
        )
        loaded = load(model.name, dtype=model.dtype)
        return LocalEngine(loaded, observers=[metrics.observer], config=options)

    return LazyEngine(build)


def _load_phase_map(settings: Settings) -> PhaseMap | None:
    if settings.model.phase_map is None:
        return None
    from heatbath.phases import PhaseMap

    return PhaseMap.load(settings.model.phase_map)


def _load_calibrator(settings: Settings) -> ServedCalibrator | None:
    if settings.trust.calibrator is None:
        return None
    from heatbath.serve.confidence import load_served_calibrator

    return load_served_calibrator(settings.trust.calibrator)


def _load_indexes(settings: Settings) -> ServedIndexes | None:
    if not settings.retrieval.indexes:
        return None
    from heatbath.serve.indexes import load_indexes

    return load_indexes(settings.retrieval)


def _load_policy(settings: Settings) -> ServedPolicy | None:
    if settings.policy.file is None:
        return None
    from heatbath.serve.policy.served_policy import load_served_policy

    return load_served_policy(settings.policy, has_review=settings.review.enabled)


def _load_decision_fits(settings: Settings) -> dict[str, DecisionFit]:
    """Read the fits of the settings. Raises `BadInput` for two of one question."""
    fits: dict[str, DecisionFit] = {}
    for path in settings.trust.decisions:
        from heatbath.trust.decisions import load_decision_fit

        fit = load_decision_fit(path)
        if fit.question.digest in fits:
            raise BadInput(
                f"{path} is the second fit in trust.decisions for the question {fit.question.text!r:.60}: keep one."
            )
        fits[fit.question.digest] = fit
    return fits


def _open_prompts(settings: Settings, log: Logger) -> PromptLibrary | None:
    if settings.prompts.folder is None:
        return None
    from heatbath.serve.stack.prompts import PromptLibrary

    return PromptLibrary.open(
        settings.prompts.folder,
        lambda problem: log.warning("prompt not taken, the last good one is kept", file=problem),
    )


def _build_feed(
    settings: Settings, metrics: Metrics, find_problems: Callable[[], Mapping[str, str]]
) -> RequestObserver:
    from heatbath.serve.dashboard import Feed

    return Feed(
        metrics.snapshot,
        find_problem=lambda: next(iter(find_problems().values()), None),
        keep_content=settings.storage.content,
    )


def _build_tracing(settings: Settings, names: ModelNames) -> list[Tracing]:
    if not settings.otel.enabled:
        return []
    from heatbath.serve.telemetry.otel import build_tracing

    server = settings.server
    return [build_tracing(settings.otel.endpoint, [names.model], names.aliases, address=server.host, port=server.port)]
