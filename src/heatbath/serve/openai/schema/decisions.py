"""Decisions: questions about an input, and probabilities of their answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from heatbath.serve.openai.schema.sampling import Note, ShortText

Instructions = str | list[dict[str, Any]]
QuestionName = Annotated[str, Meta(min_length=1, max_length=256)]


class Predicate(Struct, kw_only=True, tag_field="type", tag="predicate", forbid_unknown_fields=True):
    instructions: Instructions
    name: QuestionName | None = None


class Option(Struct, kw_only=True, forbid_unknown_fields=True):
    value: ShortText | bool
    description: str | None = None


class Choice(Struct, kw_only=True, tag_field="type", tag="choice", forbid_unknown_fields=True):
    instructions: Instructions
    choices: Annotated[list[Option], Meta(min_length=2, max_length=255)]
    name: QuestionName | None = None


class Level(Struct, kw_only=True, forbid_unknown_fields=True):
    label: ShortText
    description: str | None = None


class Score(Struct, kw_only=True, tag_field="type", tag="score", forbid_unknown_fields=True):
    instructions: Instructions
    levels: Annotated[list[Level], Meta(min_length=2, max_length=100)]
    name: QuestionName | None = None


Question = Predicate | Choice | Score


class DecisionThermoOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """The level of the probabilities in `thermo`, the orders that it averages, a set of labels, and abstention.

    Without a `level` it is the highest of the fit for the question, or order.
    """

    level: Literal["order", "temperature", "head"] | None = None
    rotations: Annotated[int, Meta(ge=1, le=255)] | None = None
    alpha: float | None = None
    bound: float | None = None
    abstain_below: float | None = None


class DecisionRequest(Struct, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=1024)]
    questions: Annotated[list[Question], Meta(min_length=1, max_length=400)]
    safety_identifier: Note | None = None
    store: bool | None = None
    thermo: DecisionThermoOptions | None = None


class DecisionThermo(Struct, kw_only=True):
    """A decision at a level: probabilities in the order of the options, Yes and No for a predicate.

    `calibrated` is true for a level that was fitted to labeled texts. `label_set` is the conformal set.
    """

    level: str
    probabilities: list[float]
    confidence: float
    calibrated: bool
    label_mass: float
    num_orders: int
    has_prior: bool
    temperature: float | UnsetType = UNSET
    alpha: float | UnsetType = UNSET
    label_set: list[str] | UnsetType = UNSET
    abstain: bool | UnsetType = UNSET


class DecisionDiagnostics(Struct):
    """`label_mass` is the total probability of the labels in the model."""

    label_mass: float


class ChoiceProbability(Struct):
    value: str | bool
    probability: float


class LevelProbability(Struct):
    value: int
    label: str
    probability: float


class PredicateAnswer(Struct, kw_only=True, tag_field="type", tag="predicate"):
    name: str | None
    probability: float
    calibrated: Literal[False] = False
    diagnostics: DecisionDiagnostics
    thermo: DecisionThermo | UnsetType = UNSET


class ChoiceAnswer(Struct, kw_only=True, tag_field="type", tag="choice"):
    name: str | None
    choice: str | bool
    probabilities: list[ChoiceProbability]
    confidence: float
    calibrated: Literal[False] = False
    diagnostics: DecisionDiagnostics
    thermo: DecisionThermo | UnsetType = UNSET


class ScoreAnswer(Struct, kw_only=True, tag_field="type", tag="score"):
    name: str | None
    score: float
    probabilities: list[LevelProbability]
    confidence: float
    calibrated: Literal[False] = False
    diagnostics: DecisionDiagnostics
    thermo: DecisionThermo | UnsetType = UNSET


class RefusalAnswer(Struct, kw_only=True, tag_field="type", tag="refusal"):
    name: str | None


DecisionAnswer = PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer


class InputTokensDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct):
    reasoning_tokens: int = 0


class DecisionUsage(Struct, kw_only=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Decision(Struct, kw_only=True):
    id: str
    object: Literal["decision"] = "decision"
    created: int
    model: str
    answers: list[DecisionAnswer]
    usage: DecisionUsage
