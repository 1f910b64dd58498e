"""Outputs of the engine: tokens with their log-probability at T = 1, alternatives and records; texts of sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from heatbath.engine.stop_strings import IncrementalDetokenizer
from heatbath.ensemble.arrays import to_numpy
from heatbath.models.base import Model, ScoreChunk
from heatbath.record import Record, observe, observe_nodes, observe_state

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Top = Sequence[tuple[int, float]]


class Row(Mapping[str, Any]):
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
        return f"Row({dict(self)!r})"


def plain_logprob(energies: Any, tokens: Ints, record: Record | None) -> Floats:
    """Log-probability of `tokens` (B,) at T = 1, from the record where it was made at T = 1."""
    if record is None or "logprob" not in record:
        return token_logprob(energies, np.ones(len(tokens)), tokens)
    other = np.flatnonzero(record["temperature"] != 1.0)
    if not len(other):
        return np.asarray(record["logprob"])
    values = record["logprob"].copy()
    part = energies if len(other) == len(tokens) else energies[other]
    values[other] = token_logprob(part, np.ones(len(other)), tokens[other])
    return np.asarray(values)


def alternatives(energies: Any, tokens: Ints, logprobs: Floats, wanted: Sequence[int]) -> list[Top]:
    """For each row its `wanted` most probable tokens, with their log-probability at T = 1."""
    found: list[Top] = [()] * len(wanted)
    rows = np.flatnonzero(np.asarray(wanted))
    if not len(rows):
        return found
    part = energies if len(rows) == len(wanted) else energies[rows]
    drawn = to_numpy(part[np.arange(len(rows)), tokens[rows]]).astype(np.float64)
    lowest, order = _lowest(part, max(wanted))
    for place, row in enumerate(rows.tolist()):
        # From the token whose log-probability is known, so that the same token has the same one to the last bit.
        values = (logprobs[row] + (drawn[place] - lowest[place, : wanted[row]])).tolist()
        found[row] = list(zip(order[place, : wanted[row]].tolist(), values, strict=True))
    return found


def _lowest(energies: Any, count: int) -> tuple[Floats, Ints]:
    """The lowest energies of each row and their states, (B, k), in order."""
    if isinstance(energies, np.ndarray):
        order = np.argsort(energies, axis=-1, kind="stable")[:, :count]
        return np.take_along_axis(energies, order, -1).astype(np.float64), order
    values, order = energies.topk(count, largest=False)
    return values.double().cpu().numpy(), order.cpu().numpy()


class PromptScoring:
    """A sequence being scored at beta, a window of it at a time."""

    def __init__(self, model: Model, tokens: Sequence[int], *, beta: float, keep: RecordMode, top: int) -> None:
        self._beta, self._keep, self._top = beta, keep, top
        self.tokens = [Token(token, None) for token in tokens]
        # Of a sequence of one token nothing is to be said.
        self._windows = iter(model.score([list(tokens)]) if len(tokens) > 1 else ())

    def step(self) -> bool:
        """Score one more window; whether there are more."""
        window = next(self._windows, None)
        if window is not None:
            self._take(window)
        return window is not None

    def _take(self, window: ScoreChunk) -> None:
        targets = np.asarray(window.targets, np.int64)
        record = self._record(window.energies, targets)
        logprobs = plain_logprob(window.energies, targets, record)
        tops = alternatives(window.energies, targets, logprobs, [self._top] * len(targets))
        columns = None if record is None else record.columns
        for at, (position, logprob, top) in enumerate(zip(window.positions, logprobs.tolist(), tops, strict=True)):
            row = None if columns is None else Row(columns, at)
            self.tokens[position] = Token(int(targets[at]), logprob, top, row)

    def _record(self, energies: Any, targets: Any) -> Record | None:
        if self._keep is None:
            return None
        if self._keep == "nodes":
            return observe_nodes(energies, targets)
        see = observe if self._keep == "full" else observe_state
        return see(energies, targets, beta=self._beta)


def score_prompt(model: Model, plan: CompiledRequest) -> PromptScoring:
    """The prompt of a request at the temperature it asks for, at T = 1 where a schedule does."""
    settings = plan.settings
    greedy = settings.sampler == "greedy"
    temperature = 0.0 if greedy else plan.request.temperature
    beta = 1.0 if isinstance(settings.temperature, Schedule) else beta_from_temperature(temperature)
    return PromptScoring(model, plan.request.prompt, beta=beta, keep=plan.keep, top=plan.request.top_logprobs)


def sequence_outputs(job: RequestState, made: Generation, model: Model) -> list[TokensGenerated]:
    """One step for each sequence of a run that is over, its whole text in it."""
    return [_grown(job, made, _tokens(job, made, model, choice), choice) for choice in range(len(made))]


def _tokens(job: RequestState, made: Generation, model: Model, choice: int) -> list[Token]:
    """The tokens of an answer, scored once more where its record does not know them at T = 1."""
    arrays, ids = made.arrays, made.sequences[choice]
    record = arrays.record
    columns = None
    if record is not None and job.plan.keep is not None:
        columns = {name: column[choice] for name, column in record.columns.items()}
    rows = [None if columns is None else Row(columns, at) for at in range(len(ids))]
    known = columns is not None and "logprob" in columns and not job.plan.request.top_logprobs
    if columns is not None and known and (columns["temperature"][: len(ids)] == 1.0).all():
        logprobs: Sequence[float] = np.asarray(columns["logprob"])[: len(ids)].tolist()
        return [Token(*each, (), row) for each, row in zip(zip(ids, logprobs, strict=True), rows, strict=True)]
    scored = _scored(job, model, ids)
    return [Token(each.id, each.logprob, each.top_logprobs, row) for each, row in zip(scored, rows, strict=True)]


def _scored(job: RequestState, model: Model, ids: Sequence[int]) -> list[Token]:
    prompt = list(job.plan.request.prompt or model.vocabulary.start_token_ids)
    scoring = PromptScoring(model, [*prompt, *ids], beta=1.0, keep=None, top=job.plan.request.top_logprobs)
    while scoring.step():
        pass
    return scoring.tokens[len(prompt) :]


def _grown(job: RequestState, made: Generation, tokens: list[Token], choice: int) -> TokensGenerated:
    tail = IncrementalDetokenizer(job.plan.stops, keep_stop=job.plan.request.keep_stop)
    finish = {"interrupted": "deadline"}.get(made.finish_reasons[choice], made.finish_reasons[choice])
    text = ""
    for place, token in enumerate(tokens):
        if finish == "stop" and place == len(tokens) - 1:
            return TokensGenerated(choice, tokens, text + tail.flush(), finish, token.id)
        text += tail.push(made.token_to_bytes(token.id))
        if tail.matched_stop is not None:
            return TokensGenerated(choice, tokens[: place + 1], text, "stop", tail.matched_stop)
    text += tail.flush()
    return TokensGenerated(choice, tokens, text, "stop" if tail.matched_stop else finish, tail.matched_stop)


def ended_run(made: Generation, why: str) -> Finished:
    """The last step of a run of a sampler of sequences; `why` says what keeps its seed from giving the same again."""
    return Finished(
        best_index=made.best_index,
        tokens_spent=made.tokens_spent,
        log_weights=made.weighted_samples.log_weight.tolist(),
        log_z=made.log_z,
        log_z_stderr=made.log_z_stderr,
        ess=float(np.asarray(made.ess)),
        diagnostics={name: float(value) for name, value in made.diagnostics.items()},
        deterministic=not why,
        nondeterminism_reason=why,
    )
