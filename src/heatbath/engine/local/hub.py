"""Samplers of whole answers, each in a greenlet of its own that stops wherever it needs energies.

They run as they are: what they take for a model is a view of the pool, and all that wait get their energies from one
forward pass.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from greenlet import GreenletExit, getcurrent, greenlet

from heatbath.engine.base import Finished, TokensGenerated
from heatbath.engine.generation import repeat_prompts
from heatbath.engine.local.faults import to_public_error
from heatbath.engine.local.job import RequestState
from heatbath.engine.local.through import Through
from heatbath.engine.local.told import told
from heatbath.engine.result import Generation
from heatbath.engine.run import Run
from heatbath.errors import BadInput
from heatbath.models.base import Model, Session, Tokens
from heatbath.models.pool.base import Pool
from heatbath.record import Frame


@dataclass(frozen=True)
class SequenceRunResult:
    """What a run came to: its answers and the words about them."""

    grown: Sequence[TokensGenerated]
    ended: Finished


class Pooled(Session):
    """A session whose rows lie in the pool, among those of others."""

    def __init__(self, view: PooledModel, rows: list[int]) -> None:
        self._view, self._rows = view, rows
        self._energies: Any = None
        # Samplers drop sessions without a word.
        weakref.finalize(self, view.drop, rows)

    @property
    def tokens(self) -> Sequence[Tokens]:
        return [self._view.pool.tokens(row) for row in self._rows]

    def energies(self) -> Any:
        if self._energies is None:
            self._energies = self._view.wait(self._rows)
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        self._view.pool.push(self._rows, [int(token) for token in tokens])
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        self._rows[:] = self._view.forked(self._rows, [int(index) for index in indices])
        self._energies = None


class PooledModel(Through):
    """The model as a sampler sees it: its sessions hold rows of the pool for the request `job`."""

    def __init__(self, model: Model, pool: Pool, job: RequestState, most: int) -> None:
        super().__init__(model)
        self.pool, self._job, self._most = pool, job, most
        self._dropped: deque[list[int]] = deque()
        self.asked = False

    def open(self, prompts: Sequence[Tokens]) -> Session:
        self._room(len(prompts))
        started = [list(prompt) or list(self.model.vocabulary.start_token_ids) for prompt in prompts]
        rows = self.pool.open(started, salt=self._job.salt)
        self._job.rows.update(rows)
        return Pooled(self, list(rows))

    def wait(self, rows: Sequence[int]) -> Any:
        """The energies of rows, once everybody's are worked out."""
        self.asked = True
        return _paused(list(rows))

    def forked(self, rows: Sequence[int], indices: Sequence[int]) -> list[int]:
        """The rows at `indices`: the first of equals is the row itself, the others are copies; absent ones go."""
        taken: set[int] = set()
        more = len(indices) - len(set(indices))
        self._room(more - (len(rows) - len(set(indices))))
        kept = []
        for index in indices:
            kept.append(self.pool.copy(rows[index]) if index in taken else rows[index])
            taken.add(index)
        self._job.rows.update(kept)
        self._close([row for index, row in enumerate(rows) if index not in taken])
        return kept

    def drop(self, rows: list[int]) -> None:
        """Rows of a session that is gone; any thread may be the one that notices."""
        self._dropped.append(rows)

    def clear(self) -> None:
        """Free the rows of sessions that are gone."""
        while self._dropped:
            self._close(self._dropped.popleft())

    def _close(self, rows: Sequence[int]) -> None:
        held = [row for row in rows if row in self._job.rows]
        self._job.rows.difference_update(held)
        if held:
            self.pool.close(held)

    def _room(self, more: int) -> None:
        self.clear()
        rows = len(self._job.rows) + more
        if rows > self._most:
            raise BadInput(f"the sampler needs {rows} rows, and there are {self._most}: ask for fewer.")


def _paused(rows: list[int] | None) -> Any:
    """Let the others go on until there are energies of `rows`; comes back with these."""
    hub = getcurrent().parent
    assert hub is not None
    return hub.switch(rows)


@dataclass(eq=False)
class Guest:
    """A run in its greenlet: the rows it waits for, None where it only lets others go first."""

    job: RequestState
    view: PooledModel
    run: Any
    rows: list[int] | None = None


class Hub:
    """All runs of samplers of whole answers. `tell(job, step or error)` hands on what comes of them."""

    def __init__(self, model: Model, pool: Pool, tell: Callable[[RequestState, Any], None], most: int) -> None:
        self._model, self._pool, self._tell, self._most = model, pool, tell, most
        self._guests: dict[RequestState, Guest] = {}
        self._frames: list[Frame] = []

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def rows(self) -> list[int]:
        """The rows whose energies the runs wait for, in the order of `step`."""
        return [row for guest in self._guests.values() for row in guest.rows or ()]

    def taken(self) -> list[Frame]:
        """The frames since this was last asked."""
        frames, self._frames = self._frames, []
        return frames

    def join(self, job: RequestState) -> None:
        """Begin a run and let it come to where it needs energies."""
        view = PooledModel(self._model, self._pool, job, self._most)
        guest = Guest(job, view, greenlet(partial(self._whole, job, view)))
        self._guests[job] = guest
        self._resume(guest, None)

    def leave(self, job: RequestState) -> None:
        """End a run where it stands; its rows are the caller's."""
        guest = self._guests.pop(job, None)
        if guest is not None and not guest.run.dead:
            with suppress(Exception):
                guest.run.throw(GreenletExit)

    def step(self, energies: Any) -> None:
        """Give every run the energies it waits for, from (B, V) in the order of `rows`."""
        first = 0
        for guest in list(self._guests.values()):
            guest.view.clear()
            count = len(guest.rows or ())
            part = energies[first : first + count] if guest.rows is not None else None
            first += count
            self._resume(guest, part)

    def _resume(self, guest: Guest, energies: Any) -> None:
        try:
            came = guest.run.switch(energies)
        except Exception as error:
            self._guests.pop(guest.job, None)
            self._tell(guest.job, to_public_error(error, self._model.name, guest.job.num_sampled_tokens))
            return
        if not isinstance(came, SequenceRunResult):
            guest.rows = came
            return
        self._guests.pop(guest.job, None)
        for grown in came.grown:
            self._tell(guest.job, grown)
        self._tell(guest.job, came.ended)

    def _whole(self, job: RequestState, view: PooledModel, _: Any) -> SequenceRunResult:
        """A run from beginning to end, as `heatbath.generate` would do it."""
        model, plan = cast(Model, view), job.compiled_request
        prompts, settings = repeat_prompts([plan.request.prompt], plan.settings, plan.request.n)
        run = Run(model, prompts, settings)
        for frame in run:
            job.num_sampled_tokens += len(frame.tokens)
            self._frames.append(frame)
            if not view.asked:
                # A step without energies must not keep the others waiting for the next one.
                _paused(None)
            view.asked = False
        return self._finished(job, run.result())

    def _finished(self, job: RequestState, made: Generation) -> SequenceRunResult:
        why = job.compiled_request.nondeterminism_reason
        if not self._pool.batch_invariant:
            why = why or "the arithmetic of the model depends on what else is in the batch"
        ended = Finished(
            selected_index=made.selected_index,
            tokens_spent=made.tokens_spent,
            log_weights=made.weighted_samples.log_weight.tolist(),
            log_z=made.log_z,
            log_z_stderr=made.log_z_stderr,
            ess=float(np.asarray(made.ess)),
            diagnostics={name: float(value) for name, value in made.diagnostics.items()},
            deterministic=not why,
            nondeterminism_reason=why,
        )
        return SequenceRunResult(told(job, made, self._model), ended)
