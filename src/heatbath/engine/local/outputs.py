"""Outputs of requests: tokens with their log-probability at T = 1, alternatives and records, and finished sequences."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode import Schedule
from heatbath.decode.base import token_logprob
from heatbath.engine.base import Finished, RecordMode, Token, TokensGenerated
from heatbath.engine.local.request_compiler import CompiledRequest
from heatbath.engine.local.request_state import RequestState
from heatbath.engine.measurement import beta_from_temperature
from heatbath.engine.result import Generation
from heatbath.ensemble.arrays import to_numpy
from heatbath.models.base import ChunkedScoring, Model, ScoreChunk
from heatbath.record import Record, observe, observe_nodes, observe_state

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Alternatives = Sequence[tuple[int, float]]


SCORED_POSITIONS = 64
"""Positions that are scored between two steps of running rows."""


class RecordRow(Mapping[str, Any]):
    """One row of a record: numbers by name, nodes as lists."""

    __slots__ = ("_at", "_columns")

    def __init__(self, columns: Mapping[str, npt.NDArray[Any]], at: int) -> None:
        self._columns, self._at = columns, at

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._at].tolist()

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"RecordRow({dict(self)!r})"


def plain_logprob(energies: Any, tokens: Ints, record: Record | None) -> Floats:
    """Return the log-probability of `tokens` (B,) at T = 1, from the record where that was taken at T = 1."""
    if record is None or "logprob" not in record:
        return token_logprob(energies, np.ones(len(tokens)), tokens)
    other = np.flatnonzero(record["temperature"] != 1.0)
    if not len(other):
        return np.asarray(record["logprob"])
    values = record["logprob"].copy()
    part = energies if len(other) == len(tokens) else energies[other]
    values[other] = token_logprob(part, np.ones(len(other)), tokens[other])
    return np.asarray(values)


def find_alternatives(energies: Any, tokens: Ints, logprobs: Floats, counts: Sequence[int]) -> list[Alternatives]:
    """Return the `counts[i]` most probable tokens of each row, with their log-probability at T = 1."""
    found: list[Alternatives] = [()] * len(counts)
    rows = np.flatnonzero(np.asarray(counts))
    if not len(rows):
        return found
    part = energies if len(rows) == len(counts) else energies[rows]
    own = to_numpy(part[np.arange(len(rows)), tokens[rows]]).astype(np.float64)
    lowest, order = _find_lowest(part, max(counts))
    for place, row in enumerate(rows.tolist()):
        # Relative to the drawn token, so that it has the same log-probability here to the last bit.
        values = (logprobs[row] + (own[place] - lowest[place, : counts[row]])).tolist()
        found[row] = list(zip(order[place, : counts[row]].tolist(), values, strict=True))
    return found


def _find_lowest(energies: Any, count: int) -> tuple[Floats, Ints]:
    """Return the lowest energies of each row and their states, (B, k), in order."""
    if isinstance(energies, np.ndarray):
        order = np.argsort(energies, axis=-1, kind="stable")[:, :count]
        return np.take_along_axis(energies, order, -1).astype(np.float64), order
    values, order = energies.topk(count, largest=False)
    return values.double().cpu().numpy(), order.cpu().numpy()


class PromptScoring:
    """Scores a sequence at inverse temperature `beta`, one chunk per step."""

    def __init__(self, model: Model, tokens: Sequence[int], *, beta: float, record_mode: RecordMode, top: int) -> None:
        self._beta, self._record_mode, self._top = beta, record_mode, top
        self.tokens = [Token(token, None) for token in tokens]
        # A single token has nothing before it.
        self._chunks = _score_in_pieces(model, list(tokens)) if len(tokens) > 1 else iter(())

    def write(self, job: RequestState) -> None:
        """Write the scored tokens to their request."""
        job.scored_prompt = self.tokens

    def step(self) -> bool:
        """Score the next chunk; return False when there is none."""
        chunk = next(self._chunks, None)
        if chunk is not None:
            self._add_chunk(chunk)
        return chunk is not None

    def _add_chunk(self, chunk: ScoreChunk) -> None:
        targets = np.asarray(chunk.targets, np.int64)
        record = self._build_record(chunk.energies, targets)
        logprobs = plain_logprob(chunk.energies, targets, record)
        tops = find_alternatives(chunk.energies, targets, logprobs, [self._top] * len(targets))
        columns = None if record is None else record.columns
        for at, (position, logprob, top) in enumerate(zip(chunk.positions, logprobs.tolist(), tops, strict=True)):
            row = None if columns is None else RecordRow(columns, at)
            self.tokens[position] = Token(int(targets[at]), logprob, top, row)

    def _build_record(self, energies: Any, targets: Any) -> Record | None:
        if self._record_mode is None:
            return None
        if self._record_mode == "nodes":
            return observe_nodes(energies, targets)
        observe_chunk = observe if self._record_mode == "full" else observe_state
        return observe_chunk(energies, targets, beta=self._beta)


def _score_in_pieces(model: Model, tokens: list[int]) -> Iterator[ScoreChunk]:
    if isinstance(model, ChunkedScoring):
        return model.score_in_chunks([tokens], SCORED_POSITIONS)
    return iter(model.score([tokens]))


def score_prompt(model: Model, compiled: CompiledRequest) -> PromptScoring:
    """Return the scoring of a request's prompt, at its temperature, or at T = 1 where it has a schedule."""
    settings = compiled.settings
    greedy = settings.sampler == "greedy"
    temperature = 0.0 if greedy else compiled.request.temperature
    beta = 1.0 if isinstance(settings.temperature, Schedule) else beta_from_temperature(temperature)
    request = compiled.request
    return PromptScoring(model, request.prompt, beta=beta, record_mode=compiled.record_mode, top=request.top_logprobs)


def sequence_outputs(
    job: RequestState, generation: Generation, model: Model
) -> Generator[None, None, list[TokensGenerated]]:
    """Return one event for each sequence of a finished run, with all its tokens and text; yield after each piece."""
    outputs = []
    for choice in range(len(generation)):
        tokens = yield from _build_tokens(job, generation, model, choice)
        outputs.append(_build_sequence_output(job, generation, tokens, choice))
    return outputs


def _build_tokens(
    job: RequestState, generation: Generation, model: Model, choice: int
) -> Generator[None, None, list[Token]]:
    """Return the tokens of a sequence, scored again where the record does not have them at T = 1."""
    arrays, ids = generation.arrays, generation.sequences[choice]
    record = arrays.record
    columns = None
    if record is not None and job.compiled.record_mode is not None:
        columns = {name: column[choice] for name, column in record.columns.items()}
    rows = [None if columns is None else RecordRow(columns, at) for at in range(len(ids))]
    known = columns is not None and "logprob" in columns and not job.compiled.request.top_logprobs
    if columns is not None and known and (columns["temperature"][: len(ids)] == 1.0).all():
        logprobs: Sequence[float] = np.asarray(columns["logprob"])[: len(ids)].tolist()
        return [Token(*each, (), row) for each, row in zip(zip(ids, logprobs, strict=True), rows, strict=True)]
    scored = yield from _score_tokens(job, model, ids)
    return [Token(each.id, each.logprob, each.top_logprobs, row) for each, row in zip(scored, rows, strict=True)]


def _score_tokens(job: RequestState, model: Model, ids: Sequence[int]) -> Generator[None, None, list[Token]]:
    prompt = list(job.compiled.request.prompt or model.vocabulary.start_token_ids)
    scoring = PromptScoring(model, [*prompt, *ids], beta=1.0, record_mode=None, top=job.compiled.request.top_logprobs)
    while scoring.step():
        yield
    return scoring.tokens[len(prompt) :]


def _build_sequence_output(
    job: RequestState, generation: Generation, tokens: list[Token], choice: int
) -> TokensGenerated:
    detokenizer = job.compiled.build_detokenizer()
    finish = {"interrupted": "deadline"}.get(generation.finish_reasons[choice], generation.finish_reasons[choice])
    text = ""
    for place, token in enumerate(tokens):
        if finish == "stop" and place == len(tokens) - 1:
            return TokensGenerated(choice, tokens, text + detokenizer.flush(), finish, token.id)
        text += detokenizer.push(generation.token_to_bytes(token.id))
        if detokenizer.matched_stop is not None:
            return TokensGenerated(choice, tokens[: place + 1], text, "stop", detokenizer.matched_stop)
    text += detokenizer.flush()
    stop = detokenizer.matched_stop
    return TokensGenerated(choice, tokens, text, "stop" if stop else finish, stop)


def finished_event(generation: Generation, nondeterminism_reason: str) -> Finished:
    """Return the last event of a request with a sequence sampler."""
    log_z = generation.reliable_log_z
    return Finished(
        best_index=generation.best_index,
        tokens_spent=generation.tokens_spent,
        log_weights=generation.weighted_samples.log_weight.tolist(),
        log_z=None if log_z is None else log_z.value,
        log_z_stderr=None if log_z is None else log_z.stderr,
        ess=float(np.asarray(generation.ess)),
        diagnostics={name: float(value) for name, value in generation.diagnostics.items()},
        deterministic=not nondeterminism_reason,
        nondeterminism_reason=nondeterminism_reason,
        unreliable_reason=generation.unreliable_reason,
    )
