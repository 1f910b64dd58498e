"""Requests at work: rows that draw token by token, grouped in batches, and runs of samplers of sequences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from heatbath.decode import Batch, RowRandom, Step, Task
from heatbath.decode.base import TokenSampler
from heatbath.engine.base import Finished, RecordMode, Token, TokensGenerated
from heatbath.engine.driver import Run
from heatbath.engine.generation import repeat_prompts
from heatbath.engine.local.outputs import Row, alternatives, ended_run, plain_logprob, sequence_outputs
from heatbath.engine.local.request_state import RequestState, SequenceState
from heatbath.engine.pool_session import PoolSession
from heatbath.engine.step_record import build_record
from heatbath.ensemble import state
from heatbath.errors import HeatbathError, ModelError, NotANumber
from heatbath.models.base import Model
from heatbath.models.pool.base import Pool
from heatbath.record import Frame, Record

_LOG = logging.getLogger("heatbath.engine")

Tell = Callable[[RequestState, Any], None]
"""Hands on a step of a request, or the error that ends it."""


class TokenGroup:
    """Rows that are drawn together: same sampler but for its temperature, same kind of record."""

    def __init__(self, sampler: TokenSampler, keep: RecordMode) -> None:
        self.answers: list[SequenceState] = []
        self.rng = RowRandom()
        self.keep_record = keep
        self.sampler = sampler
        self._batch: Batch | None = None

    def __len__(self) -> int:
        return len(self.answers)

    def join(self, answers: Sequence[SequenceState], batch: Batch, seed: int) -> None:
        """Add the rows of one more request; row i draws from the stream (seed, i)."""
        self.answers += answers
        self.rng.join([(seed, row) for row in range(len(answers))])
        self._batch = batch if self._batch is None else _joined(self._batch, batch)

    def keep(self, indices: Sequence[int]) -> None:
        """Drop the rows that are not among `indices`."""
        self.answers = [self.answers[row] for row in indices]
        self.rng.keep_rows(indices)
        self._batch = self._batch.select_rows(indices) if self._batch is not None and len(indices) else None

    def step(self, energies: Any) -> tuple[Step, Record | None, bool]:
        """One token for every row, its record, and whether the rows have run out of time."""
        assert self._batch is not None
        batch, step = self.sampler.step(self.rng, self._batch, energies)
        record = build_record(step, self.keep_record)
        self._batch = batch
        return step, record, self.sampler.is_exhausted(batch)

    def advance(self) -> None:
        """Drop the rows that have ended and push the tokens of the others."""
        stay = [row for row, answer in enumerate(self.answers) if not answer.ended]
        if len(stay) < len(self.answers):
            self.keep(stay)
        if self._batch is not None:
            self._batch = self._batch.push_pending()


def _joined(batch: Batch, more: Batch) -> Batch:
    """The rows of both; neither has pending tokens or a schedule's memory that differs in width."""
    session, other = cast(PoolSession, batch.session), cast(PoolSession, more.session)
    memory = None
    if batch.memory is not None and more.memory is not None:
        memory = np.concatenate([batch.memory, more.memory])
    return replace(
        batch,
        session=session.joined(other),
        betas=np.concatenate([batch.betas, more.betas]),
        prompt_lengths=np.concatenate([batch.prompt_lengths, more.prompt_lengths]),
        row_ids=np.concatenate([batch.row_ids, more.row_ids]),
        memory=memory,
    )


class TokenRuns:
    """The rows of all requests whose sequences are drawn token by token, each by itself."""

    def __init__(self, model: Model, pool: Pool, spell: Callable[[int], bytes], tell: Tell) -> None:
        self._model, self._pool, self._spell, self._tell = model, pool, spell, tell
        self._groups: dict[Hashable, TokenGroup] = {}
        self._rows: list[int] | None = None
        self._frames: list[Frame] = []
        self._index = 0

    @property
    def rows(self) -> list[int]:
        """The rows whose energies the next step needs, in its order."""
        if self._rows is None:
            self._rows = [answer.row for group in self._groups.values() for answer in group.answers]
        return self._rows

    def pop_frames(self) -> list[Frame]:
        """The frames since this was last asked."""
        frames, self._frames = self._frames, []
        return frames

    def join(self, job: RequestState, session: PoolSession) -> None:
        """Add a request whose sequences grow in the rows of `session`."""
        plan, rows = job.plan, session.rows
        job.answers = [SequenceState(job, row, choice) for choice, row in enumerate(rows)]
        sampler = plan.token_sampler
        prompts = [list(session.tokens[0])] * len(rows)
        shared = PoolSession(self._pool, rows)
        task = Task(
            self._model,
            prompts,
            plan.settings.max_tokens,
            plan.stop,
            observe=plan.keep == "state" or (plan.keep is None and plan.is_plain),
            opener=lambda _: shared,
        )
        key: Hashable = id(job) if plan.group is None else plan.group
        group = self._groups.setdefault(key, TokenGroup(sampler, plan.keep))
        group.join(job.answers, sampler.init(task), plan.settings.seed)
        self._rows = None

    def leave(self, job: RequestState) -> None:
        """Forget the sequences of a request; its rows are the caller's."""
        for answer in job.answers:
            answer.ended = True
        self._prune()

    def step(self, energies: Any) -> None:
        """One token for every row, from energies (B, V) in the order of `rows`."""
        first = 0
        for group in list(self._groups.values()):
            part = energies[first : first + len(group)]
            first += len(group)
            drawn = self._draw(group, part) if len(group) else None
            if drawn is not None:
                self._report(group, *drawn)
        self._index += 1
        self._prune()

    def _draw(self, group: TokenGroup, energies: Any) -> tuple[Any, Step, Record | None, bool] | None:
        """A step of a group, without the requests at fault if it fails."""
        mark = group.rng.mark()
        try:
            return energies, *group.step(energies)
        except Exception as error:
            bad = faulty_requests(group.answers, energies)
            stay = [i for i, answer in enumerate(group.answers) if answer.job not in bad]
            group.rng.rewind(mark)
            group.keep(stay)
            self._rows = None
            for job in bad:
                self._tell(job, public_error(error, self._model.name, job.spent // len(job.answers)))
            return self._draw(group, energies[stay]) if stay else None

    def _report(self, group: TokenGroup, energies: Any, step: Step, record: Record | None, late: bool) -> None:
        """Tell every request of its tokens."""
        tokens = step.tokens
        rows = np.asarray([answer.row for answer in group.answers], np.int64)
        self._frames.append(Frame(self._index, rows, tokens, record))
        logprobs = step.plain_logprob
        if logprobs is None:
            logprobs = plain_logprob(energies, tokens, record)
        tops = alternatives(
            energies, tokens, logprobs, [answer.job.plan.request.top_logprobs for answer in group.answers]
        )
        columns = None if record is None else record.columns
        each = zip(group.answers, tokens.tolist(), logprobs.tolist(), tops, strict=True)
        for at, (answer, token, logprob, top) in enumerate(each):
            made = Token(token, logprob, top, None if columns is None else Row(columns, at))
            grown = self._answered(answer, made, late)
            answer.job.spent += 1
            self._tell(answer.job, grown)
            answer.ended = answer.ended or grown.finish_reason is not None

    def _answered(self, answer: SequenceState, token: Token, late: bool) -> TokensGenerated:
        """What one more token makes of a sequence."""
        answer.left -= 1
        if token.id in answer.stop:
            return TokensGenerated(answer.choice, (token,), answer.tail.flush(), "stop", token.id)
        text = answer.tail.push(self._spell(token.id))
        if answer.tail.matched_stop is not None:
            return TokensGenerated(answer.choice, (token,), text, "stop", answer.tail.matched_stop)
        if answer.left and not late:
            return TokensGenerated(answer.choice, (token,), text)
        text += answer.tail.flush()
        if answer.tail.matched_stop is not None:
            return TokensGenerated(answer.choice, (token,), text, "stop", answer.tail.matched_stop)
        return TokensGenerated(answer.choice, (token,), text, "deadline" if answer.left else "length")

    def _prune(self) -> None:
        """Drop the sequences that have ended and free their rows; push the tokens of the others."""
        for key, group in list(self._groups.items()):
            for answer in group.answers:
                if answer.ended:
                    self._rows = None
                    if answer.job.rows is not None:
                        answer.job.rows.close([answer.row])
            group.advance()
            if not len(group):
                del self._groups[key]


@dataclass(eq=False)
class SequenceRun:
    """A run of a sampler of sequences for a request, and the rows whose energies it waits for."""

    job: RequestState
    run: Run

    @property
    def rows(self) -> list[int]:
        pending = self.run.pending
        return [] if pending is None else cast(PoolSession, pending).rows


class SequenceRuns:
    """All runs of samplers of sequences."""

    def __init__(self, model: Model, pool: Pool, tell: Tell) -> None:
        self._model, self._pool, self._tell = model, pool, tell
        self._runs: dict[RequestState, SequenceRun] = {}
        self._frames: list[Frame] = []

    def __len__(self) -> int:
        return len(self._runs)

    def pop_frames(self) -> list[Frame]:
        """The frames since this was last asked."""
        frames, self._frames = self._frames, []
        return frames

    def join(self, job: RequestState) -> None:
        """Begin a run; its sessions hold rows of the pool for the request."""
        plan, rows = job.plan, job.rows
        assert rows is not None
        prompts, settings = repeat_prompts([plan.request.prompt], plan.settings, plan.request.n)
        self._runs[job] = SequenceRun(job, Run(self._model, prompts, settings, opener=rows.open))

    def leave(self, job: RequestState) -> None:
        """Forget a run; its rows are the caller's."""
        self._runs.pop(job, None)

    def step_ready(self) -> None:
        """One step of every run that waits for no energies, so that it does not miss the next evaluation."""
        for each in list(self._runs.values()):
            if not each.rows:
                self._step(each, None)

    @property
    def rows(self) -> list[int]:
        """The rows whose energies the runs wait for, in the order of `step`."""
        return [row for each in self._runs.values() for row in each.rows]

    def step(self, energies: Any) -> None:
        """Give every run the energies it waits for, from (B, V) in the order of `rows`."""
        first = 0
        waiting = [(each, each.rows) for each in self._runs.values()]
        for each, rows in waiting:
            if rows:
                if not each.job.spent:
                    each.job.cached = max(map(self._pool.cached_tokens, rows))
                self._step(each, energies[first : first + len(rows)])
                first += len(rows)

    def _step(self, each: SequenceRun, energies: Any) -> None:
        job, run = each.job, each.run
        try:
            frame = run.step(energies)
            job.spent += len(frame.tokens)
            self._frames.append(frame)
            if not run.done:
                return
            made = run.result()
            outputs: Sequence[TokensGenerated | Finished] = [
                *sequence_outputs(job, made, self._model),
                ended_run(made, job.plan.why or nondeterminism(self._pool)),
            ]
        except Exception as error:
            self._runs.pop(job, None)
            self._tell(job, public_error(error, self._model.name, None))
            return
        self._runs.pop(job, None)
        for output in outputs:
            self._tell(job, output)


def nondeterminism(pool: Pool) -> str:
    """The reason why a seed does not give the same tokens again; empty where it does."""
    return "" if pool.batch_invariant else "the arithmetic of the model depends on what else is in the batch"


def faulty_requests(answers: Sequence[SequenceState], energies: Any) -> set[RequestState]:
    """The requests whose rows of energies (B, V) are not usable; all of them where it cannot be told."""
    jobs: dict[RequestState, list[int]] = {}
    for row, answer in enumerate(answers):
        jobs.setdefault(answer.job, []).append(row)
    if len(jobs) == 1:
        return set(jobs)
    bad = {job for job, rows in jobs.items() if not _usable(energies[rows])}
    return bad or set(jobs)


def _usable(energies: Any) -> bool:
    try:
        state(energies, 1.0)
    except HeatbathError:
        return False
    return True


def public_error(error: Exception, model: str, token: int | None) -> HeatbathError:
    """The error as its request is told of it: nothing of the inside of a program. `token` is where it came up."""
    if isinstance(error, NotANumber) and error.component is None and token is not None:
        return NotANumber(f"{model} gave NaN at generated token {token}: {error}")
    if isinstance(error, HeatbathError):
        return error
    _LOG.error("a request failed", exc_info=error)
    return ModelError(f"the request failed inside the engine ({type(error).__name__}): try it with other settings.")
