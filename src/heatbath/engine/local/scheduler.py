"""The engine thread: admit requests, run one decoding step, deliver outputs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from heatbath.engine.base import DeadlineExceeded, EngineStats, Event, Finished, Request, Started, TokensGenerated
from heatbath.engine.fair_queue import FairQueue, QueueClaim
from heatbath.engine.local.config import EngineConfig
from heatbath.engine.local.continuation_scoring import ContinuationScoring, Scoring
from heatbath.engine.local.outputs import score_prompt
from heatbath.engine.local.request_state import RequestState
from heatbath.engine.local.runs import SequenceRuns, TokenRuns, nondeterminism_reason, public_error
from heatbath.engine.pool_session import PoolRows, PoolSession
from heatbath.errors import ModelError
from heatbath.kernels.heap import HeapTrimmer
from heatbath.models.base import Model
from heatbath.models.continuations import ContinuationScorer
from heatbath.models.pool.base import Pool, PoolStats
from heatbath.models.session_scoring import build_continuation_scorer
from heatbath.record import Observer

_LOG = logging.getLogger("heatbath.engine")
_MAX_ADMITTED_TOKENS = 2048
"""Prompt tokens after which a step admits no more requests: a place for a row takes time too."""
_MAX_HELD_TOKENS, _MAX_HELD_SECONDS = 256, 0.5
"""Requests of a burst wait so long for one another's first step, for those with so few prompt tokens still unread."""
_IDLE_SECONDS = 1.0

Delivery = tuple[Any, "Event | BaseException"]


class Scheduler:
    """The loop of the engine thread. Other threads may only call `reserve`, `submit`, `wake` and read `stats`.

    `deliver` is called once per step, with the events of all requests.
    """

    def __init__(
        self,
        model: Model,
        pool_factory: Callable[[], Pool],
        config: EngineConfig,
        *,
        observers: Sequence[Observer],
        deliver: Callable[[list[Delivery]], None],
    ) -> None:
        self.queue: FairQueue[RequestState] = FairQueue()
        self._model, self._pool_factory, self._config = model, pool_factory, config
        self._observers, self._deliver = observers, deliver
        self._wakeup = threading.Event()
        self._outbox: list[Delivery] = []
        self._running: list[RequestState] = []
        self._scorings: dict[RequestState, Scoring] = {}
        self._continuation_scorer: ContinuationScorer | None = None
        self._openings: dict[RequestState, PoolSession] = {}
        self._held_since: float | None = None
        self._heap = HeapTrimmer()
        self._previous_pool_stats = PoolStats()
        self._token_bytes_cache: dict[int, bytes] = {}
        self._open_pool()

    @property
    def stats(self) -> EngineStats:
        """Counts of requests and rows; may be read by any thread."""
        now, before = self._pool.stats, self._previous_pool_stats
        return EngineStats(
            running=len(self._running),
            waiting=len(self.queue),
            rows=now.rows,
            prefix_asked=before.prefix_asked + now.prefix_asked,
            prefix_hit=before.prefix_hit + now.prefix_hit,
            prefix_bytes=now.prefix_bytes,
        )

    def reserve(self) -> None:
        """Reserve a place in the queue. Raises `Overloaded` when it is full."""
        load = self.stats
        self.queue.reserve(self._config.max_waiting + max(0, self._config.max_rows - load.rows), load.running)

    def submit(self, job: RequestState) -> None:
        """Put a request on a reserved place of the queue."""
        request = job.compiled.request
        self.queue.push(job, QueueClaim(request.tenant, request.priority, job.compiled.cost))
        self.wake()

    def wake(self) -> None:
        """End the wait of an idle loop, so that it sees new or cancelled requests at once."""
        self._wakeup.set()

    def run_once(self) -> None:
        """Run one step; wait for work when idle."""
        self._wakeup.clear()
        now = time.monotonic()
        self._drop_expired(now)
        self._admit_requests(now)
        if self._running:
            self._step()
        self._deliver_outbox()
        if self._running:
            self._heap.end_step(is_idle=False)
        elif not self._wakeup.wait(_IDLE_SECONDS):
            self._heap.end_step(is_idle=True)

    def shut_down(self, error: Exception) -> None:
        """End all requests: running ones keep their tokens so far, waiting ones get `error`."""
        for job in self.queue.remove(lambda _: True):
            self._emit(job, error)
        for job in list(self._running):
            self._interrupt(job, "cancelled", error)
        self._deliver_outbox()

    def _open_pool(self) -> None:
        self._pool = self._pool_factory()
        self._token_runs = TokenRuns(self._model, self._pool, self._read_token_bytes, self._emit)
        self._sequence_runs = SequenceRuns(self._model, self._pool, self._emit)

    def _read_token_bytes(self, token: int) -> bytes:
        piece = self._token_bytes_cache.get(token)
        if piece is None:
            piece = self._token_bytes_cache[token] = self._model.token_bytes(token)
        return piece

    # Cancellation and deadlines.

    def _drop_expired(self, now: float) -> None:
        """Drop cancelled requests and those whose deadline has passed."""
        for job in self.queue.remove(lambda job: job.cancelled or job.is_late(now)):
            self._emit(job, DeadlineExceeded(_queue_timeout_message(job, now)))
        for job in list(self._running):
            if job.cancelled:
                self._release(job)
            elif job.is_late(now):
                self._interrupt(job, "deadline", DeadlineExceeded(_run_timeout_message(job, now)))

    def _interrupt(self, job: RequestState, finish: str, error: Exception) -> None:
        """End a request with the tokens it has, or with the error where it has none."""
        if not job.tokens_spent or not job.sequences:
            self._emit(job, error)
            return
        for sequence in job.sequences:
            if not sequence.is_finished:
                self._emit(job, TokensGenerated(sequence.choice, (), sequence.detokenizer.flush(), finish))
                sequence.is_finished = True
        self._emit(job, self._finished_event(job))

    # Admission.

    def _admit_requests(self, now: float) -> None:
        tokens = 0
        while tokens < _MAX_ADMITTED_TOKENS:
            job = self.queue.pop(self._fits)
            if job is None:
                return
            job.start_time = now
            tokens += len(job.compiled.request.prompt)
            self._running.append(job)
            self._run_guarded(job, partial(self._start_request, job))

    def _fits(self, job: RequestState) -> bool:
        return self._pool.stats.rows + self._count_reserved_rows() + job.compiled.rows <= self._config.max_rows

    def _count_reserved_rows(self) -> int:
        """Count the rows that admitted requests will open: after their prompts are scored, or read."""
        opening = sum(job.compiled.rows - len(session.rows) for job, session in self._openings.items())
        return opening + sum(job.compiled.rows for job in self._scorings)

    def _run_guarded(self, job: RequestState, action: Callable[[], Any]) -> Any:
        """Run an action for one request; an error ends that request alone."""
        try:
            return action()
        except Exception as error:
            self._emit(job, public_error(error, self._model.name, job.tokens_spent))
            return None

    def _start_request(self, job: RequestState) -> None:
        if job.compiled.request.score_prompt:
            self._scorings[job] = score_prompt(self._model, job.compiled)
        elif job.compiled.request.continuations:
            self._scorings[job] = self._score_continuations(job.compiled.request)
        else:
            self._open_rows(job)

    def _score_continuations(self, request: Request) -> Scoring:
        """Return the scoring of continuations; the scorer is built for the first such request."""
        if self._continuation_scorer is None:
            self._continuation_scorer = build_continuation_scorer(self._model)
        return ContinuationScoring(self._continuation_scorer, request)

    def _open_rows(self, job: RequestState) -> None:
        """Open the rows of a request and start its sampler."""
        request = job.compiled.request
        if not request.max_tokens:
            self._finish_empty(job)
            return
        job.rows = PoolRows(self._model, self._pool, salt=job.salt, limit=self._config.max_rows)
        if not job.compiled.draws_token_by_token:
            self._sequence_runs.join(job)
            return
        self._openings[job] = job.rows.open([request.prompt])

    def _finish_empty(self, job: RequestState) -> None:
        """Finish a request with `max_tokens` 0."""
        self._emit(job, self._started_event(job))
        for choice in range(job.compiled.request.n):
            self._emit(job, TokensGenerated(choice, (), "", "length"))
        self._emit(job, self._finished_event(job))

    # The step.

    def _step(self) -> None:
        self._score_prompt()
        try:
            self._read_prompts()
            self._sequence_runs.step_ready()
            self._evaluate(self._token_runs.rows, self._sequence_runs.rows)
        except Exception as error:
            self._reset_pool(error)
            return
        self._update_observers()
        for job in [job for job in self._running if job.all_sequences_finished]:
            self._emit(job, self._finished_event(job))

    def _read_prompts(self) -> None:
        """Read a piece of the prompts; its size is bounded where running rows wait for it. Join requests that are read.

        A burst of requests with short prompts is read before the first of them takes a step.
        """
        is_streaming = bool(self._token_runs.rows or self._sequence_runs.rows)
        self._pool.read_piece(self._config.prefill_seconds if is_streaming else None)
        if is_streaming or not self._holds_burst():
            self._held_since = None
            for job, session in list(self._openings.items()):
                self._run_guarded(job, partial(self._join_request, job, session))

    def _holds_burst(self) -> bool:
        """Return whether requests that are read should wait for others, because these will be read soon."""
        unread = [self._pool.count_unread(session.rows) for session in self._openings.values()]
        if not any(0 < count <= _MAX_HELD_TOKENS for count in unread):
            return False
        now = time.monotonic()
        if self._held_since is None and not all(unread):
            self._held_since = now
        return self._held_since is None or now < self._held_since + _MAX_HELD_SECONDS

    def _join_request(self, job: RequestState, session: PoolSession) -> None:
        """Let the rows of a request take part in the steps, once its prompt is read: it is read before it is copied."""
        if self._pool.count_unread(session.rows):
            return
        if len(session.rows) < job.compiled.request.n:
            session.fork([0] * job.compiled.request.n)
        if not self._pool.count_unread(session.rows):
            self._openings.pop(job)
            self._token_runs.join(job, session)

    def _evaluate(self, single: Sequence[int], joint: Sequence[int]) -> None:
        """Run one forward pass for all rows: `single` are drawn token by token, `joint` belong to sequence samplers."""
        if not single and not joint:
            return
        energies = self._pool.energies([*single, *joint])
        if single:
            self._token_runs.step(energies[: len(single)] if joint else energies)
        if joint:
            self._sequence_runs.step(energies[len(single) :])

    def _score_prompt(self) -> None:
        """Score a chunk of the prompt that was admitted first."""
        job = next(iter(self._scorings), None)
        if job is None:
            return
        more = self._run_guarded(job, self._scorings[job].step)
        if more is False:
            self._scorings.pop(job).write(job)
            self._run_guarded(job, partial(self._open_rows, job))

    def _update_observers(self) -> None:
        for frame in (*self._token_runs.pop_frames(), *self._sequence_runs.pop_frames()):
            for observer in self._observers:
                try:
                    observer.update(frame)
                except Exception:
                    _LOG.exception("an observer failed at a frame")

    def _reset_pool(self, error: Exception) -> None:
        """End all running requests and open a new pool: after a failed step no row can be trusted."""
        _LOG.error("the model failed at a step", exc_info=error)
        public = (
            error
            if isinstance(error, ModelError)
            else ModelError(f"{self._model.name} failed at a step ({type(error).__name__}): send the request again.")
        )
        for job in list(self._running):
            job.rows = None
            self._emit(job, public)
        self._deliver_outbox()
        self._previous_pool_stats = _add_prefix_counts(self._previous_pool_stats, self._pool.stats)
        self._open_pool()

    # Output delivery.

    def _started_event(self, job: RequestState) -> Started:
        rows = () if job.rows is None else job.rows.open_rows
        cached = max([job.cached_tokens, *map(self._pool.cached_tokens, rows)])
        return Started(
            job.compiled.settings.seed,
            job.start_time - job.arrival_time,
            cached,
            job.scored_prompt,
            job.continuation_logprobs,
            job.further_logprobs,
            job.hidden_state,
        )

    def _finished_event(self, job: RequestState) -> Finished:
        """Return the last event of a request whose sequences were drawn token by token."""
        reason, n = job.compiled.nondeterminism_reason or nondeterminism_reason(self._pool), job.compiled.request.n
        return Finished(
            best_index=0,
            tokens_spent=job.tokens_spent,
            log_weights=[0.0] * n,
            ess=float(n),
            deterministic=not reason,
            nondeterminism_reason=reason,
        )

    def _emit(self, job: RequestState, event: Event | BaseException) -> None:
        if job.finished:
            return
        if not job.started and not isinstance(event, BaseException):
            job.started = True
            if not isinstance(event, Started):
                self._outbox.append((job.stream, self._started_event(job)))
        self._outbox.append((job.stream, event))
        if isinstance(event, Finished | BaseException):
            self._release(job)

    def _release(self, job: RequestState) -> None:
        """Forget a request and free its rows."""
        job.finished = True
        self._scorings.pop(job, None)
        self._openings.pop(job, None)
        self._sequence_runs.leave(job)
        if job.sequences:
            self._token_runs.leave(job)
        job.free_rows()
        if job in self._running:
            self._running.remove(job)
            self.queue.record_duration(time.monotonic() - job.start_time)

    def _deliver_outbox(self) -> None:
        deliveries, self._outbox = self._outbox, []
        if deliveries:
            self._deliver(deliveries)


def _queue_timeout_message(job: RequestState, now: float) -> str:
    waited = now - job.arrival_time
    return f"the request waited {waited:.1f} s in the queue, which is past its deadline: try again later."


def _run_timeout_message(job: RequestState, now: float) -> str:
    elapsed = now - job.arrival_time
    return (
        f"the request did not finish within {elapsed:.1f} s, waiting included, which is its deadline: allow more time."
    )


def _add_prefix_counts(before: PoolStats, more: PoolStats) -> PoolStats:
    return PoolStats(0, before.prefix_asked + more.prefix_asked, before.prefix_hit + more.prefix_hit, 0)
