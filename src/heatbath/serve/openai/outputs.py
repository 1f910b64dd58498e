"""Outputs of the engine for one prompt: tokens, texts and finish reasons of its choices, and summaries of records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from heatbath.engine.base import Event, Finished, ModelInfo, Started, Token, TokensGenerated
from heatbath.serve.confidence import Confidence
from heatbath.serve.openai.schema.response_bodies import FinishReason, PromptTokensDetails, Usage
from heatbath.serve.openai.schema.sampling import GenerationRequest
from heatbath.serve.policy.ruling import Ruling

if TYPE_CHECKING:
    from heatbath.serve.openai.grounding import Grounding

WITHHELD: Final = "content_filter"
"""Finish reason of a choice that is withheld, the one that clients of OpenAI know for it."""

_WORK = "work/"
_KEPT_MASS = "kept_mass/"
_SUMMARIZED = frozenset({"logprob", "entropy", "heat_capacity", "temperature", "p_max"})


@dataclass
class TokenTexts:
    """The texts of tokens, each decoded once. `by_id` names tokens instead, as token_id:7."""

    language: ModelInfo
    by_id: bool = False
    cache: dict[int, tuple[str, list[int]]] = field(default_factory=dict)

    def text(self, token: int) -> str:
        """Return the text, with U+FFFD for a part of a character."""
        return self.text_and_bytes(token)[0]

    def text_and_bytes(self, token: int) -> tuple[str, list[int]]:
        """Return the text and the bytes it is made from."""
        cached = self.cache.get(token)
        if cached is None:
            encoded = self.language.token_bytes(token)
            text = f"token_id:{token}" if self.by_id else encoded.decode("utf-8", errors="replace")
            cached = self.cache[token] = (text, list(encoded))
        return cached


@dataclass
class ChoiceOutput:
    """A generated sequence: tokens, text as it arrived in pieces, its end, its confidence, its grounds, its ruling."""

    tokens: list[Token] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    finish: str | None = None
    stopped: str | int | None = None
    confidence: Confidence | None = None
    grounding: Grounding | None = None
    ruling: Ruling | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def text_tokens(self) -> list[Token]:
        """The tokens of the text, without the stop token."""
        return self.tokens[:-1] if isinstance(self.stopped, int) and self.finish == "stop" else self.tokens

    def clear(self, finish: str) -> None:
        """Drop text and tokens, and end with `finish`."""
        self.tokens, self.pieces, self.finish, self.stopped = [], [], finish, None

    @property
    def mean_logprob(self) -> float:
        """Log-probability at T = 1 per token, in nats."""
        if self.ruling is not None:
            return self.ruling.mean_logprob
        return sum(token.logprob or 0.0 for token in self.tokens) / max(1, len(self.tokens))


@dataclass
class PromptOutput:
    """Everything the engine has sent for one request. `cached_tokens` of the prompt were in the prefix cache.

    `shows_prompt`: the prompt may be given, as tokens or with its log-probabilities.
    """

    prompt: tuple[int, ...]
    began: Started | None = None
    ended: Finished | None = None
    choices: dict[int, ChoiceOutput] = field(default_factory=dict)
    completion_tokens: int = 0
    cached_tokens: int = 0
    shows_prompt: bool = True

    def add(self, step: Event) -> None:
        """Add an event of the engine."""
        if isinstance(step, TokensGenerated):
            choice = self.choices.get(step.choice)
            if choice is None:
                choice = self.choices[step.choice] = ChoiceOutput()
            choice.tokens += step.tokens
            self.completion_tokens += len(step.tokens)
            if step.text:
                choice.pieces.append(step.text)
            if step.finish_reason is not None:
                choice.finish, choice.stopped = step.finish_reason, step.stop_reason
        elif isinstance(step, Started):
            self.began, self.cached_tokens = step, step.cached_tokens
        else:
            self.ended = step

    def select(self, n: int, by_likelihood: bool = False) -> list[ChoiceOutput]:
        """Return `n` choices: the engine's own choice, the most likely per token, or all there are."""
        if by_likelihood and len(self.choices) > n:
            ranked = sorted(sorted(self.choices), key=lambda i: self.choices[i].mean_logprob, reverse=True)
            return [self.choices[i] for i in ranked[:n]]
        preferred = 0 if self.ended is None else self.ended.best_index
        if n == 1 and preferred in self.choices:
            return [self.choices[preferred]]
        # A request for no tokens has choices that never got any.
        return [self.choices[i] for i in sorted(self.choices)[:n]] or [ChoiceOutput(finish="length")] * n


def summarize_records(tokens: Sequence[Token]) -> dict[str, Any]:
    """Return means of surprisal, entropy, heat capacity and log Z, and sums of log-probability and work, in nats.

    Surprisal, entropy, heat capacity and log Z are of the model's own ensemble at the temperature used; log Z is
    relative to the ground state, so that it does not depend on the gauge. What was not recorded is left out.
    """
    logprob: float = 0
    columns: dict[str, list[float]] | None = None
    for token in tokens:
        logprob += token.logprob or 0.0
        if token.record is None:
            continue
        columns = {} if columns is None else columns
        for name, value in token.record.items():
            if name in _SUMMARIZED or name.startswith((_WORK, _KEPT_MASS)):
                column = columns.setdefault(name, [])
                if value is not None and math.isfinite(value):
                    column.append(value)
    summary: dict[str, Any] = {"n": len(tokens), "logprob": logprob}
    return summary if columns is None else summary | _summarize_columns(columns)


def _summarize_columns(columns: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    logprobs, temperatures = columns.get("logprob", ()), columns.get("temperature", ())
    surprisal = _mean(logprobs)
    log_z = []
    for p_max in columns.get("p_max", ()):
        if p_max > 0:
            log_z.append(-math.log(p_max))
    summary: dict[str, Any] = {
        "logprob_at_temperature": sum(logprobs),
        # The order of operations keeps a mean of 0 from becoming -0.
        "surprisal": None if surprisal is None else 0.0 - surprisal,
        "entropy": _mean(columns.get("entropy", ())),
        "heat_capacity": _mean(columns.get("heat_capacity", ())),
        "log_z": _mean(log_z),
        "temperature": [min(temperatures), max(temperatures)] if temperatures else None,
        "work": {},
        "kept_mass": {},
    }
    for name, column in columns.items():
        if name.startswith(_WORK):
            summary["work"][name.removeprefix(_WORK)] = sum(column)
        elif name.startswith(_KEPT_MASS):
            summary["kept_mass"][name.removeprefix(_KEPT_MASS)] = _mean(column)
    return summary


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def record_columns(tokens: Sequence[Token], texts: TokenTexts) -> dict[str, list[Any]]:
    """Return the records of tokens as columns: texts, ids, and each column of a record by its name.

    `logprob` is at T = 1; the record's own, at the temperature used, is `logprob_at_temperature`.
    """
    columns: dict[str, list[Any]] = {"text": [], "token_id": [], "logprob": []}
    for row, token in enumerate(tokens):
        columns["text"].append(texts.text_and_bytes(token.id)[0])
        columns["token_id"].append(token.id)
        columns["logprob"].append(token.logprob)
        for name, value in (token.record or {}).items():
            column = "logprob_at_temperature" if name == "logprob" else name
            columns.setdefault(column, [None] * len(tokens))[row] = value
    return columns


def finish_reason(choice: ChoiceOutput) -> FinishReason:
    """Return why a choice ended, as the API names it: whatever cut it short is "length"."""
    return "stop" if choice.finish == "stop" else WITHHELD if choice.finish == WITHHELD else "length"


def stop_reason(choice: ChoiceOutput, body: GenerationRequest) -> int | str | UnsetType | None:
    """Return the text or token that ended a choice, if the request is about such things; None for the model's own."""
    if not (body.stop or body.stop_token_ids or body.include_stop_str_in_output or body.return_token_ids):
        return UNSET
    is_own = isinstance(choice.stopped, int) and choice.stopped not in (body.stop_token_ids or ())
    return None if is_own else choice.stopped


def stop_token_text(choice: ChoiceOutput, body: GenerationRequest, texts: TokenTexts) -> str:
    """Return the text of the stop token, for requests that do not skip it."""
    shown = body.skip_special_tokens is False and choice.finish == "stop"
    return texts.text(choice.stopped) if shown and isinstance(choice.stopped, int) else ""


def usage(outputs: Sequence[PromptOutput]) -> Usage:
    """Return the tokens of prompts and completions; a prompt counts once, however many choices it has."""
    prompt = sum([len(output.prompt) for output in outputs])
    completion = sum([output.completion_tokens for output in outputs])
    cached = sum([output.cached_tokens for output in outputs])
    return Usage(prompt, completion, prompt + completion, PromptTokensDetails(cached))
