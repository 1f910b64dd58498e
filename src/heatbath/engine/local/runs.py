"""Running requests: rows drawn token by token, grouped in batches, and runs of sequence samplers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from heatbath.decode import Batch, RowRandom, Step, Task
from heatbath.decode.base import TokenSampler
from heatbath.engine.base import RecordMode, Token, TokensGenerated
from heatbath.engine.driver import Run
from heatbath.engine.generation import repeat_prompts
from heatbath.engine.local.outputs import RecordRow, find_alternatives, finished_event, plain_logprob, sequence_outputs
from heatbath.engine.local.request_state import RequestState, SequenceState
from heatbath.engine.pool_session import PoolSession
from heatbath.engine.result import Generation
from heatbath.engine.step_record import build_record
from heatbath.ensemble import state
from heatbath.errors import HeatbathError, ModelError, NotANumber
from heatbath.models.base import Model
from heatbath.models.pool.base import Pool
from heatbath.record import Frame, Record

_LOG = logging.getLogger("heatbath.engine")

EmitEvent = Callable[[RequestState, Any], None]
"""Delivers an event of a request, or the error that ends it."""


class TokenGroup:
    """Rows drawn together: they share the sampler, except for its temperature, and the record mode."""

    def __init__(self, sampler: TokenSampler, record_mode: RecordMode) -> None:
        self.sequences: list[SequenceState] = []
        self.rng = RowRandom()
        self.record_mode = record_mode
        self.sampler = sampler
        self._batch: Batch | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def join(self, sequences: Sequence[SequenceState], batch: Batch, seed: int) -> None:
        """Add the rows of a request; row i draws from the random stream (seed, i)."""
        self.sequences += sequences
        self.rng.join([(seed, row) for row in range(len(sequences))])
        self._batch = batch if self._batch is None else _concatenate_batches(self._batch, batch)

    def keep_rows(self, indices: Sequence[int]) -> None:
        """Keep the rows `indices`, in that order."""
        self.sequences = [self.sequences[row] for row in indices]
        self.rng.keep_rows(indices)
        self._batch = self._batch.select_rows(indices) if self._batch is not None and len(indices) else None

    def step(self, energies: Any) -> tuple[Step, Record | None, bool]:
        """Draw one token for every row; return the step, its record, and whether the rows have run out of time."""
        assert self._batch is not None
        batch, step = self.sampler.step(self.rng, self._batch, energies)
        record = build_record(step, self.record_mode)
        self._batch = batch
        return step, record, self.sampler.is_exhausted(batch)

    def advance(self) -> None:
        """Drop finished rows and push the tokens of the others."""
        stay = [row for row, sequence in enumerate(self.sequences) if not sequence.is_finished]
        if len(stay) < len(self.sequences):
            self.keep_rows(stay)
        if self._batch is not None:
            self._batch = self._batch.push_pending()


def _concatenate_batches(batch: Batch, more: Batch) -> Batch:
    """Return the rows of both, which have no pending tokens and schedule memories of the same width."""
    session, other = cast(PoolSession, batch.session), cast(PoolSession, more.session)
    memory = None
    if batch.memory is not None and more.memory is not None:
        memory = np.concatenate([batch.memory, more.memory])
    return replace(
        batch,
        session=session.concatenate(other),
        betas=np.concatenate([batch.betas, more.betas]),
        prompt_lengths=np.concatenate([batch.prompt_lengths, more.prompt_lengths]),
        row_ids=np.concatenate([batch.row_ids, more.row_ids]),
        memory=memory,
    )


class TokenRuns:
    """The rows of all requests whose sequences are drawn token by token, independently."""

    def __init__(self, model: Model, pool: Pool, token_bytes: Callable[[int], bytes], emit: EmitEvent) -> None:
        self._model, self._pool, self._token_bytes, self._emit = model, pool, token_bytes, emit
        self._groups: dict[Hashable, TokenGroup] = {}
        self._rows: list[int] | None = None
        self._frames: list[Frame] = []
        self._index = 0

    @property
    def rows(self) -> list[int]:
        """The rows whose energies the next `step` takes, in its order."""
        if self._rows is None:
            self._rows = [sequence.row for group in self._groups.values() for sequence in group.sequences]
        return self._rows

    def pop_frames(self) -> list[Frame]:
        """Return the frames since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def join(self, job: RequestState, session: PoolSession) -> None:
        """Add a request with one sequence for each row of `session`."""
        compiled, rows = job.compiled, session.rows
        job.sequences = [SequenceState(job, row, choice) for choice, row in enumerate(rows)]
        sampler = compiled.token_sampler
        prompts = [list(session.tokens[0])] * len(rows)
        shared = PoolSession(self._pool, rows)
        task = Task(
            self._model,
            prompts,
            compiled.settings.max_tokens,
            compiled.stop_token_ids,
            observe=compiled.record_mode == "state" or (compiled.record_mode is None and compiled.is_plain),
            opener=lambda _: shared,
        )
        key: Hashable = id(job) if compiled.batch_key is None else compiled.batch_key
        group = self._groups.setdefault(key, TokenGroup(sampler, compiled.record_mode))
        group.join(job.sequences, sampler.init(task), compiled.settings.seed)
        self._rows = None

    def leave(self, job: RequestState) -> None:
        """Finish and remove the sequences of a request, and close their rows."""
        for sequence in job.sequences:
            sequence.is_finished = True
        self._prune()

    def step(self, energies: Any) -> None:
        """Draw one token for every row, from energies (B, V) in the order of `rows`."""
        first = 0
        for group in list(self._groups.values()):
            part = energies[first : first + len(group)]
            first += len(group)
            outcome = self._draw_group(group, part) if len(group) else None
            if outcome is not None:
                self._emit_tokens(group, *outcome)
        self._index += 1
        self._prune()

    def _draw_group(self, group: TokenGroup, energies: Any) -> tuple[Any, Step, Record | None, bool] | None:
        """Run a step of a group; after an error, run it again without the requests that caused it."""
        mark = group.rng.mark()
        try:
            return energies, *group.step(energies)
        except Exception as error:
            bad = faulty_requests(group.sequences, energies)
            stay = [i for i, sequence in enumerate(group.sequences) if sequence.job not in bad]
            group.rng.rewind(mark)
            group.keep_rows(stay)
            self._rows = None
            for job in bad:
                self._emit(job, public_error(error, self._model.name, job.tokens_spent // len(job.sequences)))
            return self._draw_group(group, energies[stay]) if stay else None

    def _emit_tokens(self, group: TokenGroup, energies: Any, step: Step, record: Record | None, late: bool) -> None:
        """Emit the new token of every sequence, with its log-probability, alternatives and record."""
        tokens = step.tokens
        rows = np.asarray([sequence.row for sequence in group.sequences], np.int64)
        self._frames.append(Frame(self._index, rows, tokens, record))
        logprobs = step.plain_logprob
        if logprobs is None:
            logprobs = plain_logprob(energies, tokens, record)
        tops = find_alternatives(
            energies, tokens, logprobs, [sequence.job.compiled.request.top_logprobs for sequence in group.sequences]
        )
        columns = None if record is None else record.columns
        rows_of_group = zip(group.sequences, tokens.tolist(), logprobs.tolist(), tops, strict=True)
        for at, (sequence, token_id, logprob, top) in enumerate(rows_of_group):
            token = Token(token_id, logprob, top, None if columns is None else RecordRow(columns, at))
            event = self._advance_sequence(sequence, token, late)
            sequence.job.tokens_spent += 1
            self._emit(sequence.job, event)
            sequence.is_finished = sequence.is_finished or event.finish_reason is not None

    def _advance_sequence(self, sequence: SequenceState, token: Token, late: bool) -> TokensGenerated:
        """Append a token to a sequence; return the event, which says whether and why it finished."""
        sequence.tokens_left -= 1
        if token.id in sequence.stop_token_ids:
            return TokensGenerated(sequence.choice, (token,), sequence.detokenizer.flush(), "stop", token.id)
        text = sequence.detokenizer.push(self._token_bytes(token.id))
        if sequence.detokenizer.matched_stop is not None:
            return TokensGenerated(sequence.choice, (token,), text, "stop", sequence.detokenizer.matched_stop)
        if sequence.tokens_left and not late:
            return TokensGenerated(sequence.choice, (token,), text)
        text += sequence.detokenizer.flush()
        if sequence.detokenizer.matched_stop is not None:
            return TokensGenerated(sequence.choice, (token,), text, "stop", sequence.detokenizer.matched_stop)
        return TokensGenerated(sequence.choice, (token,), text, "deadline" if sequence.tokens_left else "length")

    def _prune(self) -> None:
        """Drop finished sequences and free their rows; push the tokens of the others."""
        for key, group in list(self._groups.items()):
            for sequence in group.sequences:
                if sequence.is_finished:
                    self._rows = None
                    if sequence.job.rows is not None:
                        sequence.job.rows.close([sequence.row])
            group.advance()
            if not len(group):
                del self._groups[key]


@dataclass(eq=False)
class SequenceRun:
    """The run of a sequence sampler for a request, and the rows whose energies its next step needs."""

    job: RequestState
    run: Run

    @property
    def rows(self) -> list[int]:
        pending = self.run.pending
        return [] if pending is None else cast(PoolSession, pending).rows


class SequenceRuns:
    """The runs of all requests with a sequence sampler."""

    def __init__(self, model: Model, pool: Pool, emit: EmitEvent) -> None:
        self._model, self._pool, self._emit = model, pool, emit
        self._runs: dict[RequestState, SequenceRun] = {}
        self._scorings: dict[RequestState, Iterator[None]] = {}
        self._frames: list[Frame] = []

    def __len__(self) -> int:
        return len(self._runs)

    def pop_frames(self) -> list[Frame]:
        """Return the frames since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def join(self, job: RequestState) -> None:
        """Start the run of a request, with sessions on rows of the pool."""
        compiled, rows = job.compiled, job.rows
        assert rows is not None
        prompts, settings = repeat_prompts([compiled.request.prompt], compiled.settings, compiled.request.n)
        self._runs[job] = SequenceRun(job, Run(self._model, prompts, settings, opener=rows.open))

    def leave(self, job: RequestState) -> None:
        """Remove the run of a request. The caller closes its rows."""
        self._runs.pop(job, None)
        self._scorings.pop(job, None)

    def step_ready(self) -> None:
        """Step every run that needs no energies, so that it can take part in the next evaluation.

        Score a piece of the sequences of a finished run.
        """
        for job in list(self._scorings)[:1]:
            self._score_piece(job)
        for each in list(self._runs.values()):
            if not each.rows:
                self._step(each, None)

    @property
    def rows(self) -> list[int]:
        """The rows whose energies the next `step` takes, in its order: those of runs whose prompts are read."""
        return [row for _, rows in self._waiting_runs() for row in rows]

    def _waiting_runs(self) -> list[tuple[SequenceRun, list[int]]]:
        """Return the runs that wait for energies and whose prompts are read, with their rows."""
        runs = [(each, each.rows) for each in self._runs.values()]
        return [(each, rows) for each, rows in runs if rows and not self._pool.count_unread(rows)]

    def step(self, energies: Any) -> None:
        """Step every run with its energies, from (B, V) in the order of `rows`."""
        first = 0
        for each, rows in self._waiting_runs():
            if not each.job.tokens_spent:
                each.job.cached_tokens = max(map(self._pool.cached_tokens, rows))
            self._step(each, energies[first : first + len(rows)])
            first += len(rows)

    def _step(self, each: SequenceRun, energies: Any) -> None:
        job, run = each.job, each.run
        try:
            frame = run.step(energies)
            job.tokens_spent += len(frame.tokens)
            self._frames.append(frame)
            if not run.is_finished:
                return
            self._runs.pop(job, None)
            self._scorings[job] = self._emit_outputs(job, run.result())
        except Exception as error:
            self._runs.pop(job, None)
            self._emit(job, public_error(error, self._model.name, None))
        else:
            self._score_piece(job)

    def _score_piece(self, job: RequestState) -> None:
        """Continue with the outputs of a finished run, and emit them once all are there."""
        try:
            next(self._scorings[job], None)
        except Exception as error:
            self._emit(job, public_error(error, self._model.name, None))

    def _emit_outputs(self, job: RequestState, generation: Generation) -> Iterator[None]:
        """Build the outputs of a finished run, piece by piece; emit them at the end."""
        sequences = yield from sequence_outputs(job, generation, self._model)
        reason = job.compiled.nondeterminism_reason or nondeterminism_reason(self._pool)
        for output in (*sequences, finished_event(generation, reason)):
            self._emit(job, output)


def nondeterminism_reason(pool: Pool) -> str:
    """Return the reason why a seed may not give the same tokens again; empty where it does."""
    return "" if pool.batch_invariant else "the arithmetic of the model depends on what else is in the batch"


def faulty_requests(sequences: Sequence[SequenceState], energies: Any) -> set[RequestState]:
    """Return the requests with invalid rows of energies (B, V); all requests where none has any."""
    jobs: dict[RequestState, list[int]] = {}
    for row, sequence in enumerate(sequences):
        jobs.setdefault(sequence.job, []).append(row)
    if len(jobs) == 1:
        return set(jobs)
    bad = {job for job, rows in jobs.items() if not _has_valid_energies(energies[rows])}
    return bad or set(jobs)


def _has_valid_energies(energies: Any) -> bool:
    try:
        state(energies, 1.0)
    except HeatbathError:
        return False
    return True


def public_error(error: Exception, model: str, token: int | None) -> HeatbathError:
    """Return the error to show to the client: no internals of the program. `token` is the position of the error."""
    if isinstance(error, NotANumber) and error.component is None and token is not None:
        return NotANumber(f"{model} gave NaN at generated token {token}: {error}")
    if isinstance(error, HeatbathError):
        return error
    _LOG.error("a request failed", exc_info=error)
    return ModelError(f"the request failed inside the engine ({type(error).__name__}): try it with other settings.")
