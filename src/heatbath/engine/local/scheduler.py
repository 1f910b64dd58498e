"""The engine thread: admit requests, run one decoding step, deliver outputs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from heatbath.engine.base import DeadlineExceeded, EngineStats, Event, Finished, Started, TokensGenerated
from heatbath.engine.local.config import EngineConfig
from heatbath.engine.local.fair_queue import FairQueue, QueueClaim
from heatbath.engine.local.outputs import PromptScoring, score_prompt
from heatbath.engine.local.request_state import RequestState
from heatbath.engine.local.runs import SequenceRuns, TokenRuns, nondeterminism, public_error
from heatbath.engine.pool_session import PoolRows
from heatbath.errors import ModelError
from heatbath.models.base import Model
from heatbath.models.pool.base import Pool, PoolStats
from heatbath.record import Observer

_LOG = logging.getLogger("heatbath.engine")
_ADMITTED_TOKENS = 2048
"""Prompt tokens read in one step, beyond which further requests wait for the next: rows that grow wait for them."""
_IDLE = 1.0

Delivery = tuple[Any, "Event | BaseException"]


class Scheduler:
    """The engine thread; only `reserve`, `submit`, `wake` and `load` may be called from other threads.

    `deliver` takes the outputs of a step, all requests together.
    """

    def __init__(
        self,
        model: Model,
        pools: Callable[[], Pool],
        options: EngineConfig,
        *,
        observers: Sequence[Observer],
        deliver: Callable[[list[Delivery]], None],
    ) -> None:
        self.queue: FairQueue[RequestState] = FairQueue()
        self._model, self._pools, self._options = model, pools, options
        self._observers, self._deliver = observers, deliver
        self._wanted = threading.Event()
        self._told: list[Delivery] = []
        self._jobs: list[RequestState] = []
        self._scorings: dict[RequestState, PromptScoring] = {}
        self._before = PoolStats()
        self._pieces: dict[int, bytes] = {}
        self._begin()

    @property
    def stats(self) -> EngineStats:
        """How busy it is; may be asked by any thread."""
        now, before = self._pool.stats, self._before
        return EngineStats(
            running=len(self._jobs),
            waiting=len(self.queue),
            rows=now.rows,
            prefix_asked=before.prefix_asked + now.prefix_asked,
            prefix_hit=before.prefix_hit + now.prefix_hit,
            prefix_bytes=now.prefix_bytes,
        )

    def reserve(self) -> None:
        """Take a place in the queue. Raises `Overloaded` when there is none."""
        load = self.stats
        self.queue.reserve(self._options.max_waiting + max(0, self._options.max_rows - load.rows), load.running)

    def submit(self, job: RequestState) -> None:
        """Queue a request, on a place that was reserved."""
        request = job.plan.request
        self.queue.push(job, QueueClaim(request.tenant, request.priority, job.plan.cost))
        self.wake()

    def wake(self) -> None:
        """Look at once at what has changed."""
        self._wanted.set()

    def run_once(self) -> None:
        """One turn of the loop; waits for work where there is none."""
        self._wanted.clear()
        now = time.monotonic()
        self._give_up(now)
        self._admit(now)
        if self._jobs:
            self._step()
        self._hand_over()
        if not self._jobs:
            self._wanted.wait(_IDLE)

    def shut_down(self, error: Exception) -> None:
        """Give up all there is: what runs keeps what it has, what waits gets `error`."""
        for job in self.queue.remove(lambda _: True):
            self._tell(job, error)
        for job in list(self._jobs):
            self._cut(job, "cancelled", error)
        self._hand_over()

    def _begin(self) -> None:
        self._pool = self._pools()
        self._tokens = TokenRuns(self._model, self._pool, self._spell, self._tell)
        self._sequences = SequenceRuns(self._model, self._pool, self._tell)

    def _spell(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._model.token_bytes(token)
        return piece

    # Cancellation and deadlines.

    def _give_up(self, now: float) -> None:
        """Drop cancelled requests and those whose deadline has passed."""
        for job in self.queue.remove(lambda job: job.gone or job.is_late(now)):
            self._tell(job, DeadlineExceeded(_waited_too_long(job, now)))
        for job in list(self._jobs):
            if job.gone:
                self._drop(job)
            elif job.is_late(now):
                self._cut(job, "deadline", DeadlineExceeded(_took_too_long(job, now)))

    def _cut(self, job: RequestState, finish: str, error: Exception) -> None:
        """End a request now: its answers as they are where it has tokens to show, else with the error."""
        if not job.spent or not job.answers:
            self._tell(job, error)
            return
        for answer in job.answers:
            if not answer.ended:
                self._tell(job, TokensGenerated(answer.choice, (), answer.tail.flush(), finish))
                answer.ended = True
        self._tell(job, self._ended(job))

    # Admission.

    def _admit(self, now: float) -> None:
        tokens = 0
        while tokens < _ADMITTED_TOKENS:
            job = self.queue.pop(self._fits)
            if job is None:
                return
            job.began = now
            tokens += len(job.plan.request.prompt)
            self._jobs.append(job)
            self._guarded(job, partial(self._begin_with, job))

    def _fits(self, job: RequestState) -> bool:
        return self._pool.stats.rows + self._promised() + job.plan.rows <= self._options.max_rows

    def _promised(self) -> int:
        """Rows of requests that are still being scored."""
        return sum(job.plan.rows for job in self._scorings)

    def _guarded(self, job: RequestState, act: Callable[[], Any]) -> Any:
        """Do something for one request, which alone is told if it fails."""
        try:
            return act()
        except Exception as error:
            self._tell(job, public_error(error, self._model.name, job.spent))
            return None

    def _begin_with(self, job: RequestState) -> None:
        if job.plan.request.score_prompt:
            self._scorings[job] = score_prompt(self._model, job.plan)
        else:
            self._enter(job)

    def _enter(self, job: RequestState) -> None:
        """Give a request its rows."""
        request = job.plan.request
        if not request.max_tokens:
            self._nothing(job)
            return
        job.rows = PoolRows(self._model, self._pool, salt=job.salt, limit=self._options.max_rows)
        if not job.plan.by_token:
            self._sequences.join(job)
            return
        session = job.rows.open([request.prompt])
        # The prompt is read once, and the copies have what it came to.
        if request.n > 1 and self._energies(session.rows) is None:
            return
        session.fork([0] * request.n)
        self._tokens.join(job, session)

    def _energies(self, rows: Sequence[int]) -> Any:
        """The energies of rows; None where the model failed, which ends all that run."""
        try:
            return self._pool.energies(rows)
        except Exception as error:
            self._lost(error)
            return None

    def _nothing(self, job: RequestState) -> None:
        """A request that wants no token."""
        self._tell(job, self._first(job))
        for choice in range(job.plan.request.n):
            self._tell(job, TokensGenerated(choice, (), "", "length"))
        self._tell(job, self._ended(job))

    # The step.

    def _step(self) -> None:
        self._score()
        try:
            self._sequences.step_ready()
            self._grow(self._tokens.rows, self._sequences.rows)
        except Exception as error:
            self._lost(error)
            return
        self._watch()
        for job in [job for job in self._jobs if job.answers and all(answer.ended for answer in job.answers)]:
            self._tell(job, self._ended(job))

    def _grow(self, single: Sequence[int], joint: Sequence[int]) -> None:
        """One forward pass for all rows: those drawn token by token, then those of runs of sequences."""
        if not single and not joint:
            return
        energies = self._pool.energies([*single, *joint])
        if single:
            self._tokens.step(energies[: len(single)] if joint else energies)
        if joint:
            self._sequences.step(energies[len(single) :])

    def _score(self) -> None:
        """A piece of one prompt, the one that came first."""
        job = next(iter(self._scorings), None)
        if job is None:
            return
        more = self._guarded(job, self._scorings[job].step)
        if more is False:
            job.scored = self._scorings.pop(job).tokens
            self._guarded(job, partial(self._enter, job))

    def _watch(self) -> None:
        for frame in (*self._tokens.pop_frames(), *self._sequences.pop_frames()):
            for observer in self._observers:
                try:
                    observer.update(frame)
                except Exception:
                    _LOG.exception("an observer failed at a frame")

    def _lost(self, error: Exception) -> None:
        """The model failed in the middle of a step: nobody's rows can be trusted, so that all begin anew."""
        _LOG.error("the model failed at a step", exc_info=error)
        told = (
            error
            if isinstance(error, ModelError)
            else ModelError(f"{self._model.name} failed at a step ({type(error).__name__}): send the request again.")
        )
        for job in list(self._jobs):
            job.rows = None
            self._tell(job, told)
        self._hand_over()
        self._before = _plus(self._before, self._pool.stats)
        self._begin()

    # Output delivery.

    def _first(self, job: RequestState) -> Started:
        held = () if job.rows is None else job.rows.held
        cached = max((self._pool.cached_tokens(row) for row in held), default=0)
        return Started(job.plan.settings.seed, job.began - job.arrived, max(cached, job.cached), job.scored)

    def _ended(self, job: RequestState) -> Finished:
        """The last step of a request whose sequences were drawn token by token."""
        why, n = job.plan.why or nondeterminism(self._pool), job.plan.request.n
        return Finished(0, job.spent, [0.0] * n, ess=float(n), deterministic=not why, nondeterminism_reason=why)

    def _tell(self, job: RequestState, step: Event | BaseException) -> None:
        if job.done:
            return
        if not job.told and not isinstance(step, BaseException):
            job.told = True
            if not isinstance(step, Started):
                self._told.append((job.stream, self._first(job)))
        self._told.append((job.stream, step))
        if isinstance(step, Finished | BaseException):
            self._drop(job)

    def _drop(self, job: RequestState) -> None:
        """Forget a request and free what it holds."""
        job.done = True
        self._scorings.pop(job, None)
        self._sequences.leave(job)
        if job.answers:
            self._tokens.leave(job)
        job.free_rows()
        if job in self._jobs:
            self._jobs.remove(job)
            self.queue.record_duration(time.monotonic() - job.began)

    def _hand_over(self) -> None:
        told, self._told = self._told, []
        if told:
            self._deliver(told)


def _waited_too_long(job: RequestState, now: float) -> str:
    return f"the request waited {now - job.arrived:.1f} s for its turn, which is all the time it has: try again later."


def _took_too_long(job: RequestState, now: float) -> str:
    return f"the request had nothing to show after {now - job.arrived:.1f} s, all the time it has: allow it more."


def _plus(before: PoolStats, more: PoolStats) -> PoolStats:
    return PoolStats(0, before.prefix_asked + more.prefix_asked, before.prefix_hit + more.prefix_hit, 0)
