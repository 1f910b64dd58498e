"""The confidence of the choices of one request, and the gate that withholds those below what it requires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heatbath.engine.base import Event, ModelInfo, RecordMode, Token, TokensGenerated
from heatbath.record import DIVERGENCE_PREFIX, NODE_COLUMNS, UNIFORM_COLUMNS
from heatbath.serve.confidence import Confidence, ServedCalibrator, stored_confidence
from heatbath.serve.interfaces import AnswerConfidence
from heatbath.serve.openai.outputs import WITHHELD, ChoiceOutput, PromptOutput

_NODE_RECORD = frozenset({"energy", "ground", *NODE_COLUMNS})
_MORE_THAN_STATE = frozenset({*NODE_COLUMNS, *UNIFORM_COLUMNS, "divergence"})


class ShownRecord(Mapping[str, Any]):
    """A record that shows the columns of a smaller one; `whole` is all that was recorded."""

    __slots__ = ("_mode", "whole")

    def __init__(self, whole: Mapping[str, Any], mode: RecordMode) -> None:
        self.whole, self._mode = whole, mode

    def __getitem__(self, name: str) -> Any:
        if not self._shows(name):
            raise KeyError(name)
        return self.whole[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.whole if self._shows(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _shows(self, name: str) -> bool:
        if self._mode == "nodes":
            return name in _NODE_RECORD
        return name not in _MORE_THAN_STATE and not name.startswith(DIVERGENCE_PREFIX)


@dataclass(frozen=True)
class ConfidenceMeter:
    """Measures the confidence of the choices of one request.

    Attributes:
        mismatch: why none can be measured: a setting that is not that of the calibration; empty if all are.
        required: the least confidence that the request wants of a choice, None if it wants none.
        shown_mode: the record that is shown and stored, where more is recorded for the signals; else None.
    """

    served: ServedCalibrator
    language: ModelInfo
    mismatch: str = ""
    required: float | None = None
    shown_mode: RecordMode = None

    def hide_columns(self, step: Event) -> Event:
        """Return an event whose records show what a request of its own would have."""
        if self.shown_mode is None or not isinstance(step, TokensGenerated):
            return step
        tokens = [
            token if token.record is None else replace(token, record=ShownRecord(token.record, self.shown_mode))
            for token in step.tokens
        ]
        return replace(step, tokens=tokens)

    def measure(self, choice: ChoiceOutput) -> Confidence:
        """Return the confidence of a finished choice, the same at every call."""
        if choice.confidence is None:
            if self.mismatch:
                found = Confidence(None, self.mismatch, is_stale=self.served.monitor.is_stale)
            else:
                tokens = [_whole_token(token) for token in choice.tokens]
                found = self.served.measure(tokens, choice.finish, self.language)
            choice.confidence = replace(found, required=self.required)
        return choice.confidence

    def withhold(self, outputs: Sequence[PromptOutput], n: int) -> None:
        """Take text and tokens from each choice that falls short of what is required; a prompt has n."""
        if self.required is None:
            return
        for output in outputs:
            for i in tuple(output.choices) or range(n):
                choice = output.choices.setdefault(i, ChoiceOutput())
                if self.measure(choice).is_withheld:
                    choice.clear(WITHHELD)

    def report(self, choices: Sequence[ChoiceOutput]) -> list[AnswerConfidence]:
        """Count the choices of a response, hand the first to the monitor, and return what is stored of them."""
        found = []
        for i, choice in enumerate(choices):
            confidence = self.measure(choice)
            self.served.counts.add(confidence)
            stored = stored_confidence(i, confidence, self.served.digest)
            if stored is not None:
                found.append(stored)
        if found:
            # Further choices of a prompt are no independent answers.
            self.served.monitor.add_confidence(found[0].value)
        return found


def _whole_token(token: Token) -> Token:
    return replace(token, record=token.record.whole) if isinstance(token.record, ShownRecord) else token
