"""The engine's thread: one loop that admits, steps and tells, around one pool."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from heatbath.engine.base import DeadlineExceeded, EngineStats, Event, Finished, Started, TokensGenerated
from heatbath.engine.local.batch import Batch
from heatbath.engine.local.faults import to_public_error
from heatbath.engine.local.hub import Hub
from heatbath.engine.local.job import RequestState
from heatbath.engine.local.options import EngineConfig
from heatbath.engine.local.queue import FairQueue, QueueClaim
from heatbath.engine.local.scoring import PromptScorer, build_prompt_scorer
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
    """Everything that happens in the engine's thread; the other side calls `submit`, `wake`, `load` and no more.

    `deliver` takes what a step told, all requests together.
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
        self._scorings: dict[RequestState, PromptScorer] = {}
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
        request = job.compiled_request.request
        self.queue.push(job, QueueClaim(request.tenant, request.priority, job.compiled_request.cost))
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
        self._batch = Batch(self._pool, self._spell, self._tell, self._model.name)
        self._hub = Hub(self._model, self._pool, self._tell, self._options.max_rows)

    def _spell(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._model.token_bytes(token)
        return piece

    # What leaves before the next step.

    def _give_up(self, now: float) -> None:
        """Let go of requests that nobody listens to any more, and of those whose time is over."""
        for job in self.queue.remove(lambda job: job.is_cancelled or _late(job, now)):
            self._tell(job, DeadlineExceeded(_waited_too_long(job, now)))
        for job in list(self._jobs):
            if job.is_cancelled:
                self._drop(job)
            elif _late(job, now):
                self._cut(job, "deadline", DeadlineExceeded(_took_too_long(job, now)))

    def _cut(self, job: RequestState, finish: str, error: Exception) -> None:
        """End a request now: its answers as they are where it has tokens to show, else with the error."""
        if not job.num_sampled_tokens or not job.sequences:
            self._tell(job, error)
            return
        for answer in job.sequences:
            if not answer.is_finished:
                self._tell(job, TokensGenerated(answer.choice, (), answer.detokenizer.flush(), finish))
                answer.is_finished = True
        self._tell(job, self._ended(job))

    # Who comes in.

    def _admit(self, now: float) -> None:
        tokens = 0
        while tokens < _ADMITTED_TOKENS:
            job = self.queue.pop(self._fits)
            if job is None:
                return
            job.start_time = now
            tokens += len(job.compiled_request.request.prompt)
            self._jobs.append(job)
            self._guarded(job, partial(self._begin_with, job))

    def _fits(self, job: RequestState) -> bool:
        return self._pool.stats.rows + self._promised() + job.compiled_request.rows <= self._options.max_rows

    def _promised(self) -> int:
        """Rows of requests that are still being scored."""
        return sum(job.compiled_request.rows for job in self._scorings)

    def _guarded(self, job: RequestState, act: Callable[[], Any]) -> Any:
        """Do something for one request, which alone is told if it fails."""
        try:
            return act()
        except Exception as error:
            self._tell(job, to_public_error(error, self._model.name, job.num_sampled_tokens))
            return None

    def _begin_with(self, job: RequestState) -> None:
        if job.compiled_request.request.score_prompt:
            self._scorings[job] = build_prompt_scorer(self._model, job.compiled_request)
        else:
            self._enter(job)

    def _enter(self, job: RequestState) -> None:
        """Give a request its rows."""
        request = job.compiled_request.request
        if not request.max_tokens:
            self._nothing(job)
            return
        prompt = list(request.prompt) or list(self._model.vocabulary.start_token_ids)
        job.prompt_length = len(prompt)
        if not job.compiled_request.is_token_level:
            self._hub.join(job)
            return
        rows = self._pool.open([prompt], salt=job.salt)
        job.rows.update(rows)
        # The prompt is read once, and the copies have what it came to.
        if request.n > 1 and self._energies(rows) is None:
            return
        for _ in range(request.n - 1):
            rows.append(self._pool.copy(rows[0]))
            job.rows.add(rows[-1])
        self._batch.join(job, rows)

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
        for choice in range(job.compiled_request.request.n):
            self._tell(job, TokensGenerated(choice, (), "", "length"))
        self._tell(job, self._ended(job))

    # The step.

    def _step(self) -> None:
        self._score()
        try:
            self._grow(self._batch.rows, self._hub.rows)
        except Exception as error:
            self._lost(error)
            return
        self._watch()
        for job in [job for job in self._jobs if job.sequences and all(answer.is_finished for answer in job.sequences)]:
            self._tell(job, self._ended(job))

    def _grow(self, mine: Sequence[int], theirs: Sequence[int]) -> None:
        """One forward pass for all rows, then each lane with its own."""
        energies: Any = self._pool.energies([*mine, *theirs]) if mine or theirs else None
        if mine:
            self._batch.step(energies[: len(mine)] if theirs else energies)
        if len(self._hub):
            self._hub.step(energies[len(mine) :] if theirs else None)

    def _score(self) -> None:
        """A piece of one prompt, the one that came first."""
        job = next(iter(self._scorings), None)
        if job is None:
            return
        more = self._guarded(job, self._scorings[job].step)
        if more is False:
            job.scored_prompt = self._scorings.pop(job).tokens
            self._guarded(job, partial(self._enter, job))

    def _watch(self) -> None:
        for frame in (*self._batch.taken(), *self._hub.taken()):
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
            job.rows.clear()
            self._tell(job, told)
        self._hand_over()
        self._before = _plus(self._before, self._pool.stats)
        self._begin()

    # What is told.

    def _first(self, job: RequestState) -> Started:
        cached = max((self._pool.cached_tokens(row) for row in job.rows), default=0)
        return Started(job.compiled_request.settings.seed, job.start_time - job.arrival_time, cached, job.scored_prompt)

    def _ended(self, job: RequestState) -> Finished:
        """What is said at the end of a request whose answers went each its own way."""
        why, n = self._why(job), job.compiled_request.request.n
        return Finished(
            0, job.num_sampled_tokens, [0.0] * n, ess=float(n), deterministic=not why, nondeterminism_reason=why
        )

    def _why(self, job: RequestState) -> str:
        if job.compiled_request.nondeterminism_reason or self._pool.batch_invariant:
            return job.compiled_request.nondeterminism_reason
        return "the arithmetic of the model depends on what else is in the batch"

    def _tell(self, job: RequestState, step: Event | BaseException) -> None:
        if job.is_finished:
            return
        if not job.has_started and not isinstance(step, BaseException):
            job.has_started = True
            if not isinstance(step, Started):
                self._told.append((job.stream, self._first(job)))
        self._told.append((job.stream, step))
        if isinstance(step, Finished | BaseException):
            self._drop(job)

    def _drop(self, job: RequestState) -> None:
        """Forget a request and free what it holds."""
        job.is_finished = True
        self._scorings.pop(job, None)
        self._hub.leave(job)
        if job.sequences:
            self._batch.leave(job)
        if job.rows:
            self._pool.close(sorted(job.rows))
            job.rows.clear()
        if job in self._jobs:
            self._jobs.remove(job)
            self.queue.record_duration(time.monotonic() - job.start_time)

    def _hand_over(self) -> None:
        told, self._told = self._told, []
        if told:
            self._deliver(told)


def _late(job: RequestState, now: float) -> bool:
    return job.deadline_time is not None and now >= job.deadline_time


def _waited_too_long(job: RequestState, now: float) -> str:
    return f"the request waited {now - job.arrival_time:.1f} s for its turn, which is all the time it has: try again later."


def _took_too_long(job: RequestState, now: float) -> str:
    return f"the request had nothing to show after {now - job.arrival_time:.1f} s, all the time it has: allow it more."


def _plus(before: PoolStats, more: PoolStats) -> PoolStats:
    return PoolStats(0, before.prefix_asked + more.prefix_asked, before.prefix_hit + more.prefix_hit, 0)
