"""Decisions: questions about an input, and probabilities as answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from heatbath.serve.api.schema.sampling import Note, Short

Instructions = str | list[dict[str, Any]]
Title = Annotated[str, Meta(min_length=1, max_length=256)]


class Predicate(Struct, kw_only=True, tag_field="type", tag="predicate"):
    instructions: Instructions
    name: Title | None = None


class Option(Struct, kw_only=True):
    value: Short | bool
    description: str | None = None


class Choice(Struct, kw_only=True, tag_field="type", tag="choice"):
    instructions: Instructions
    choices: Annotated[list[Option], Meta(min_length=2, max_length=255)]
    name: Title | None = None


class Level(Struct, kw_only=True):
    label: Short
    description: str | None = None


class Score(Struct, kw_only=True, tag_field="type", tag="score"):
    instructions: Instructions
    levels: Annotated[list[Level], Meta(min_length=2, max_length=100)]
    name: Title | None = None


Question = Predicate | Choice | Score


class DecisionRequest(Struct, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=1024)]
    questions: Annotated[list[Question], Meta(min_length=1, max_length=400)]
    safety_identifier: Note | None = None
    store: bool | None = None


class Diagnostics(Struct):
    """`label_mass` is the probability that the model gives to the labels together."""

    label_mass: float


class Weighed(Struct):
    value: str | bool
    probability: float


class WeighedLevel(Struct):
    value: int
    label: str
    probability: float


class PredicateAnswer(Struct, kw_only=True, tag_field="type", tag="predicate"):
    name: str | None
    probability: float
    calibrated: Literal[False] = False
    diagnostics: Diagnostics


class ChoiceAnswer(Struct, kw_only=True, tag_field="type", tag="choice"):
    name: str | None
    choice: str | bool
    probabilities: list[Weighed]
    confidence: float
    calibrated: Literal[False] = False
    diagnostics: Diagnostics


class ScoreAnswer(Struct, kw_only=True, tag_field="type", tag="score"):
    name: str | None
    score: float
    probabilities: list[WeighedLevel]
    confidence: float
    calibrated: Literal[False] = False
    diagnostics: Diagnostics


class RefusalAnswer(Struct, kw_only=True, tag_field="type", tag="refusal"):
    name: str | None


Answer = PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer


class InputDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Struct):
    reasoning_tokens: int = 0


class DecisionUsage(Struct, kw_only=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int = 0
    output_tokens_details: OutputDetails
    total_tokens: int


class Decision(Struct, kw_only=True):
    id: str
    object: Literal["decision"] = "decision"
    created: int
    model: str
    answers: list[Answer]
    usage: DecisionUsage
