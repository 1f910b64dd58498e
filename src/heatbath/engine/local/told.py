"""What a run of whole answers tells of each: tokens with their log-probability at T = 1, text up to the first stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatbath.engine.base import Grown, Token
from heatbath.engine.generation import Generation
from heatbath.engine.local.job import Job
from heatbath.engine.local.rows import Row
from heatbath.engine.local.scoring import Scoring
from heatbath.engine.tail import Tail
from heatbath.models.base import Model


def told(job: Job, made: Generation, model: Model) -> list[Grown]:
    """One step an answer, its whole text in it."""
    return [_grown(job, made, _tokens(job, made, model, choice), choice) for choice in range(len(made))]


def _tokens(job: Job, made: Generation, model: Model, choice: int) -> list[Token]:
    """The tokens of an answer, scored once more where its record does not know them at T = 1."""
    arrays, ids = made.arrays, made.sequences[choice]
    record = arrays.record
    columns = None
    if record is not None and "logprob" in record and job.plan.keep:
        columns = {name: column[choice] for name, column in record.columns.items()}
    rows = [None if columns is None else Row(columns, at) for at in range(len(ids))]
    if columns is not None and not job.plan.request.top and (columns["temperature"][: len(ids)] == 1.0).all():
        logprobs: Sequence[float] = np.asarray(columns["logprob"])[: len(ids)].tolist()
        return [Token(*each, (), row) for each, row in zip(zip(ids, logprobs, strict=True), rows, strict=True)]
    scored = _scored(job, model, ids)
    return [Token(each.id, each.logprob, each.top, row) for each, row in zip(scored, rows, strict=True)]


def _scored(job: Job, model: Model, ids: Sequence[int]) -> list[Token]:
    prompt = list(job.plan.request.prompt or model.vocabulary.start)
    scoring = Scoring(model, [*prompt, *ids], beta=1.0, keep=False, top=job.plan.request.top)
    while scoring.step():
        pass
    return scoring.tokens[len(prompt) :]


def _grown(job: Job, made: Generation, tokens: list[Token], choice: int) -> Grown:
    tail = Tail(job.plan.stops, keep_stop=job.plan.request.keep_stop)
    finish = {"interrupted": "deadline"}.get(made.finish[choice], made.finish[choice])
    text = ""
    for place, token in enumerate(tokens):
        if finish == "stop" and place == len(tokens) - 1:
            return Grown(choice, tokens, text + tail.end(), finish, token.id)
        text += tail.push(made.spell(token.id))
        if tail.stopped is not None:
            return Grown(choice, tokens[: place + 1], text, "stop", tail.stopped)
    text += tail.end()
    return Grown(choice, tokens, text, "stop" if tail.stopped else finish, tail.stopped)
