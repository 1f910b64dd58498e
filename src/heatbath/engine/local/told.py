"""What a run of whole answers tells of each: tokens with their log-probability at T = 1, text up to the first stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatbath.engine.base import Token, TokensGenerated
from heatbath.engine.local.job import RequestState
from heatbath.engine.local.rows import Row
from heatbath.engine.local.scoring import PromptScorer
from heatbath.engine.result import Generation
from heatbath.engine.stop_strings import IncrementalDetokenizer
from heatbath.models.base import Model


def told(job: RequestState, made: Generation, model: Model) -> list[TokensGenerated]:
    """One step an answer, its whole text in it."""
    return [_grown(job, made, _tokens(job, made, model, choice), choice) for choice in range(len(made))]


def _tokens(job: RequestState, made: Generation, model: Model, choice: int) -> list[Token]:
    """The tokens of an answer, scored once more where its record does not know them at T = 1."""
    arrays, ids = made.arrays, made.sequences[choice]
    record = arrays.record
    columns = None
    if record is not None and "logprob" in record and job.compiled_request.record_mode:
        columns = {name: column[choice] for name, column in record.columns.items()}
    rows = [None if columns is None else Row(columns, at) for at in range(len(ids))]
    if (
        columns is not None
        and not job.compiled_request.request.top_logprobs
        and (columns["temperature"][: len(ids)] == 1.0).all()
    ):
        logprobs: Sequence[float] = np.asarray(columns["logprob"])[: len(ids)].tolist()
        return [Token(*each, (), row) for each, row in zip(zip(ids, logprobs, strict=True), rows, strict=True)]
    scored = _scored(job, model, ids)
    return [Token(each.id, each.logprob, each.top_logprobs, row) for each, row in zip(scored, rows, strict=True)]


def _scored(job: RequestState, model: Model, ids: Sequence[int]) -> list[Token]:
    prompt = list(job.compiled_request.request.prompt or model.vocabulary.start_token_ids)
    scoring = PromptScorer(
        model, [*prompt, *ids], beta=1.0, record_mode=False, top_logprobs=job.compiled_request.request.top_logprobs
    )
    while scoring.step():
        pass
    return scoring.tokens[len(prompt) :]


def _grown(job: RequestState, made: Generation, tokens: list[Token], choice: int) -> TokensGenerated:
    tail = IncrementalDetokenizer(job.compiled_request.stop_strings, keep_stop=job.compiled_request.request.keep_stop)
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
