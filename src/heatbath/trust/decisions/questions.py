"""Questions with labels that answer them: kinds, validation, the orders of their options, and their texts.

A question is put to a model once for each order of its options. The orders depend on the set of options alone, not on
the order in which a caller gives them: options are sorted by their normalized labels first.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from heatbath.engine.base import ModelInfo
from heatbath.errors import BadInput, format_value
from heatbath.models.base import ChatModel, has_chat_template

Kind = Literal["choice", "yes_no", "score"]
"""One of several labels; whether a statement is true; a level of a scale."""
Layout = Literal["options_first", "input_first"]
"""The order of a prompt. Prompts with the options first share all that precedes the input."""
Order = tuple[int, ...]

KINDS: tuple[Kind, ...] = get_args(Kind)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
YES_OR_NO = ("Yes", "No")
MAX_LABELS = 255

Options = Sequence[str] | Mapping[str, str | None]


@dataclass(frozen=True)
class DecisionQuestion:
    """A question, and the labels that answer it.

    Attributes:
        kind: "choice", "yes_no" (whether `text` is true of the input) or "score" (levels, the lowest first).
        text: the question, or the statement.
        labels: the labels, in the order in which they were given.
        descriptions: a description of each label, or None.
        layout: whether the options or the input come first in a prompt.
    """

    kind: Kind
    text: str
    labels: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    layout: Layout = "options_first"

    @property
    def digest(self) -> str:
        """A hash of the question and the set of its options, in whatever order they were given."""
        order = self.first_order
        options = [[self.labels[i], self.descriptions[i]] for i in order]
        content = json.dumps([self.kind, self.text, options], ensure_ascii=False)
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    @property
    def given_order(self) -> Order:
        """The order in which the options were given."""
        return tuple(range(len(self.labels)))

    @property
    def first_order(self) -> Order:
        """The first of `list_orders`: by normalized label, or as given where the order has a meaning."""
        if self.kind != "choice":
            return self.given_order
        return tuple(sorted(self.given_order, key=lambda i: normalize_label(self.labels[i])))

    def list_orders(self, rotations: int | None = None) -> list[Order]:
        """Return the orders to average over: `rotations` of the options, evenly spaced, all of them by default.

        Levels of a scale are shown from the lowest and from the highest, and yes before no and after it.
        """
        first = self.first_order
        if self.kind == "score":
            orders = [first, first[::-1]]
        else:
            orders = [first[shift:] + first[:shift] for shift in range(len(first))]
        if rotations is None or rotations == len(orders):
            return orders
        if isinstance(rotations, bool) or not isinstance(rotations, int) or not 1 <= rotations <= len(orders):
            raise BadInput(
                f"`rotations` must be from 1 to {len(orders)}, got {format_value(rotations)}.", param="rotations"
            )
        return [orders[j * len(orders) // rotations] for j in range(rotations)]

    def format_prompt(self, text: str, order: Order) -> str:
        """Return the question about `text` with the options in an order."""
        question = self._format_question(order)
        if self.layout == "input_first":
            return f"Input:\n{text}\n\n{question}"
        return f"{question}\n\nInput:\n{text}"

    def _format_question(self, order: Order) -> str:
        labels = [self.labels[i] for i in order]
        if self.kind == "yes_no":
            return (
                f"Statement: {self.text}\nIs the statement true of the input? Answer {labels[0]} or {labels[1]} only."
            )
        lines = "\n".join(map(_format_option, labels, [self.descriptions[i] for i in order]))
        if self.kind == "choice":
            return f"{self.text}\nChoices:\n{lines}\nAnswer with one of the choices only."
        direction = "lowest" if order == self.given_order else "highest"
        return f"{self.text}\nLevels, the {direction} first:\n{lines}\nAnswer with one of the levels only."


def build_question(
    text: str, options: Options | None = None, *, kind: Kind | None = None, layout: Layout = "options_first"
) -> DecisionQuestion:
    """Build a question; without options it is whether the statement `text` is true.

    Raises:
        BadInput: a text that is empty, fewer than two labels, labels that are empty, or equal after normalization.
    """
    kind = ("yes_no" if options is None else "choice") if kind is None else kind
    if kind not in KINDS:
        raise BadInput(f"`kind` must be choice, yes_no or score, got {format_value(kind)}.", param="kind")
    if layout not in LAYOUTS:
        raise BadInput(f"`layout` must be options_first or input_first, got {format_value(layout)}.", param="layout")
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"the question is {format_value(text)}: give a text.", param="question")
    if kind == "yes_no":
        if options is not None and tuple(options) != YES_OR_NO:
            raise BadInput("a yes_no question has the labels Yes and No: leave `options` out.", param="options")
        return DecisionQuestion(kind, text, YES_OR_NO, (None, None), layout)
    labels, descriptions = _split_options(options)
    return DecisionQuestion(kind, text, labels, descriptions, layout)


def _split_options(options: Options | None) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    """Return labels and descriptions, once they have been checked."""
    if isinstance(options, str) or not isinstance(options, Sequence | Mapping):
        raise BadInput(
            f"`options` is {format_value(options)}: give a list of labels, or descriptions by label.", param="options"
        )
    labels = tuple(options)
    descriptions = tuple(options.values()) if isinstance(options, Mapping) else (None,) * len(labels)
    if not 2 <= len(labels) <= MAX_LABELS:
        raise BadInput(f"`options` must have from 2 to {MAX_LABELS} labels, got {len(labels)}.", param="options")
    seen: dict[str, str] = {}
    for label in labels:
        if not isinstance(label, str) or not normalize_label(label):
            raise BadInput(f"the label {format_value(label)} is empty or no text: give each a text.", param="options")
        other = seen.setdefault(normalize_label(label), label)
        if other is not label or labels.count(label) > 1:
            raise BadInput(
                f"the labels {other!r} and {label!r} are equal but for case, spaces and Unicode form: "
                "make each different.",
                param="options",
            )
    for each in descriptions:
        if not (each is None or isinstance(each, str)):
            raise BadInput(f"the description {format_value(each)} is no text: give a text or None.", param="options")
    return labels, descriptions


def normalize_label(label: str) -> str:
    """Return a label without differences of case, white space and Unicode form (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).split())


def _format_option(label: str, description: str | None) -> str:
    return f"- {label}: {description}" if description else f"- {label}"


def encode_question(language: ModelInfo, question: DecisionQuestion, text: str, order: Order) -> list[int]:
    """Return the tokens after which a label is expected: by the chat template, or of a plain text without one."""
    prompt = question.format_prompt(text, order)
    if isinstance(language, ChatModel) and has_chat_template(language):
        return list(language.encode_chat([{"role": "user", "content": prompt}]))
    return list(language.encode(f"{prompt}\n\nAnswer:"))


def label_texts(language: ModelInfo, question: DecisionQuestion) -> tuple[str, ...]:
    """Return the labels as they are written after a prompt: after a space where there is no chat template."""
    if isinstance(language, ChatModel) and has_chat_template(language):
        return question.labels
    return tuple(f" {label}" for label in question.labels)
